"""Finds and reads what simulate, fit, plan, edge and tools/evaluate wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from midcut.errors import FileError
from midcut.profiles import read_fit
from midcut.profiles.clock_law import FILE as FIT
from midcut.results.evaluation import FILE as EVALUATION
from midcut.results.evaluation import read_evaluation
from midcut.results.plan import FILE as PLAN
from midcut.results.plan import read_plan
from midcut.results.simulation import FILE as SIMULATION
from midcut.results.simulation import read_simulation
from midcut.results.stream import RECORDS, SUMMARY, read_records, read_summary
from midcut.results.sweep import FILE as SWEEP
from midcut.results.sweep import read_sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from midcut.profiles import Fit
    from midcut.results.evaluation import Evaluation
    from midcut.results.plan import Plan
    from midcut.results.simulation import Simulation
    from midcut.results.stream import Record, Summary
    from midcut.results.sweep import Job

_NAMES = (SIMULATION, FIT, PLAN, SUMMARY, SWEEP, EVALUATION)


@dataclass(frozen=True)
class Sweep:
    """A multirun; its jobs by number."""

    name: str
    jobs: Sequence[Job]


@dataclass(frozen=True)
class Stream:
    """A folder of images through an edge: the summary, and the requests where their file is still there."""

    summary: Summary
    records: Sequence[Record]


@dataclass(frozen=True)
class Results:
    """Everything to report on, by the name of its folder; names are relative and differ."""

    simulations: dict[str, Simulation] = field(default_factory=dict)
    fits: dict[str, Fit] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    sweeps: list[Sweep] = field(default_factory=list)
    evaluations: dict[str, Evaluation] = field(default_factory=dict)


def read_results(folders: Iterable[Path]) -> Results:
    """Read all results in the folders and below them, each once.

    Raises:
        FileError: a folder that does not exist or holds no result, or a result that cannot be read.
    """
    paths: list[Path] = []
    for folder in folders:
        inside = list(_result_files(folder))
        if not inside:
            names = ", ".join(_NAMES)
            raise FileError(f"{folder}: no result of simulate, fit, plan, edge or evaluate in it or below ({names})")
        paths += [path for path in inside if path not in paths]
    results = Results()
    for path, name in zip(paths, _unique_names(paths), strict=True):
        _read_into(results, path, name)
    return results


def _result_files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise FileError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; give run directories")
    root = folder.resolve()
    for path in sorted(root.rglob("*.json*"), key=_sort_key):
        if path.name in _NAMES and path.is_file():
            yield path


def _sort_key(path: Path) -> tuple[Any, ...]:
    """Job 10 of a sweep comes after job 9."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.parts)


def _read_into(results: Results, path: Path, name: str) -> None:
    if path.name == SIMULATION:
        results.simulations[name] = read_simulation(path)
    elif path.name == FIT:
        results.fits[name] = read_fit(path)
    elif path.name == PLAN:
        results.plans[name] = read_plan(path)
    elif path.name == SUMMARY:
        records = path.with_name(RECORDS)
        results.streams[name] = Stream(read_summary(path), read_records(records) if records.exists() else ())
    elif path.name == EVALUATION:
        results.evaluations[name] = read_evaluation(path)
    else:
        results.sweeps.append(Sweep(name, read_sweep(path)))


def _unique_names(paths: list[Path]) -> list[str]:
    """Names of the result folders without their common parent, so that a report does not depend on where they are."""
    parents = [path.parent for path in paths]
    shared = min(len(parent.parts) - 1 for parent in parents)
    while len({parent.parts[:shared] for parent in parents}) > 1:
        shared -= 1
    return ["/".join(parent.parts[shared:]) for parent in parents]
