"""Finds and reads what simulate, fit, plan, edge and tools/evaluate wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from midcut.errors import FileError
from midcut.profiles import read_fit
from midcut.results.evaluation import FILE as EVALUATION
from midcut.results.evaluation import read_evaluation
from midcut.results.simulation import FILE as SIMULATION
from midcut.results.simulation import read_simulation
from midcut.results.sweep import FILE as SWEEP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from midcut.profiles import Fit
    from midcut.results.evaluation import Evaluation
    from midcut.results.simulation import Simulation

FIT, PLAN, RESULTS, SUMMARY = "fit.json", "plan.json", "results.jsonl", "summary.json"
_NAMES = (SIMULATION, FIT, PLAN, SUMMARY, SWEEP, EVALUATION)


class Job(msgspec.Struct, frozen=True):
    """A line of `sweep.jsonl`."""

    job: int
    verb: str
    overrides: tuple[str, ...]
    status: str
    run_dir: str
    result: Any = None
    error: str | None = None


class PlanRow(msgspec.Struct, frozen=True):
    """A placement in a `plan.json`; seconds and US dollars, as predicted."""

    cut: int
    edge_s: float
    link_s: float
    cloud_s: float
    latency_s: float
    cost_usd: float
    codec: str = "raw"


class Plan(msgspec.Struct, frozen=True):
    """A `plan.json`."""

    model: str
    w: float
    cut: int
    after: str
    edge_s: float
    link_s: float
    cloud_s: float
    latency_s: float
    cost_usd: float
    observation: dict[str, float | None]
    rows: tuple[PlanRow, ...]
    codec: str = "raw"


@dataclass(frozen=True)
class Sweep:
    """A multirun, its jobs by number."""

    name: str
    folder: Path
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Stream:
    """What `midcut edge input=folder` did: its summary, and its records where they were kept."""

    summary: dict[str, Any]
    records: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Found:
    """All that was found, by the name of its folder; names are relative and differ."""

    simulations: dict[str, Simulation] = field(default_factory=dict)
    fits: dict[str, Fit] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    sweeps: tuple[Sweep, ...] = ()
    evaluations: dict[str, Evaluation] = field(default_factory=dict)


def find(folders: Iterable[Path]) -> Found:
    """Read all results in the folders and below them, each once.

    Raises:
        FileError: a folder that does not exist or holds no result, or a result that cannot be read.
    """
    paths: list[Path] = []
    for folder in folders:
        here = list(_results(folder))
        if not here:
            names = ", ".join(_NAMES)
            raise FileError(f"{folder}: no result of simulate, fit, plan, edge or evaluate in it or below ({names})")
        paths += [path for path in here if path not in paths]
    return _read(paths)


def _results(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise FileError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; give run directories")
    root = folder.resolve()
    for path in sorted(root.rglob("*.json*"), key=_order):
        if path.name in _NAMES and path.is_file():
            yield path


def _order(path: Path) -> tuple[Any, ...]:
    """Job 10 of a sweep comes after job 9."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.parts)


def _read(paths: list[Path]) -> Found:
    found = Found()
    sweeps = []
    for path, name in zip(paths, _named(paths), strict=True):
        match path.name:
            case "simulation.json":
                found.simulations[name] = read_simulation(path)
            case "fit.json":
                found.fits[name] = read_fit(path)
            case "plan.json":
                found.plans[name] = _typed(path, Plan, "plan")
            case "summary.json":
                found.streams[name] = _stream(path)
            case "evaluation.json":
                found.evaluations[name] = read_evaluation(path)
            case _:
                jobs = sorted(_lines(path, Job, "sweep"), key=lambda job: job.job)
                sweeps.append(Sweep(name, path.parent, tuple(jobs)))
    return Found(found.simulations, found.fits, found.plans, found.streams, tuple(sweeps), found.evaluations)


def _named(paths: list[Path]) -> list[str]:
    """The folders without what they all begin with: the same report wherever they lie."""
    parents = [path.parent for path in paths]
    shared = min(len(parent.parts) - 1 for parent in parents)
    while len({parent.parts[:shared] for parent in parents}) > 1:
        shared -= 1
    return ["/".join(parent.parts[shared:]) for parent in parents]


def _stream(path: Path) -> Stream:
    summary = _typed(path, dict[str, Any], "stream's summary")
    results = path.with_name(RESULTS)
    if "requests" not in summary or "model" not in summary:
        raise FileError(f"{path}: not a stream's summary: it names no model and no requests")
    records = _lines(results, dict[str, Any], "stream") if results.exists() else []
    return Stream(summary, tuple(records))


def _typed(path: Path, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise FileError(f"{path}: cannot read the {what}: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: not a {what}: {error}") from None


def _lines(path: Path, kind: Any, what: str) -> list[Any]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise FileError(f"{path}: cannot read the {what}: {error.strerror or error}") from None
    read = []
    for count, line in enumerate(lines, start=1):
        try:
            read.append(msgspec.json.decode(line, type=kind))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileError(f"{path}, line {count}: not a line of a {what}: {error}") from None
    return read
