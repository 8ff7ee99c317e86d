"""Seconds of a whole model in several executors, measured in turn once, and read from the cache at later starts."""

from __future__ import annotations

import contextlib
import hashlib
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import Struct

from midcut.errors import FileError, MidcutError
from midcut.profiles.cache import cache_folder
from midcut.profiles.file_names import file_name
from midcut.results.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.protocols import Executor, Network, Segment

# Rounds of a small model go on for a while: another process may have had all of a few milliseconds.
_ROUNDS: Final = 7
_SHORTEST_S: Final = 0.3
_MOST_ROUNDS: Final = 201
_LEAST_ROUNDS: Final = 3
_LONGEST_S: Final = 3.0
# Starts that follow one another quickly do not repeat an export that fails; later ones try it again.
_REFUSAL_S: Final = 600.0
_LIMITS: Final = ("scaling_max_freq", "scaling_governor")
_CPUFREQ: Final = Path("/sys/devices/system/cpu/cpufreq")
_log = structlog.get_logger("midcut.profiles")


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One measurement, by names of executors: identity, conditions and tolerance."""

    seconds: dict[str, float]
    refused: dict[str, str]


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    """All measurements of one model under the same conditions."""

    measured: tuple[_Entry, ...]
    format: str = "midcut-speeds/1"


@dataclass(frozen=True)
class Speeds:
    """Seconds of the same model in several executors.

    Attributes:
        seconds: identity -> median seconds of one run of the whole model.
        refused: identity -> why an executor cannot run it.
        file: of the cache if they were measured at an earlier time, else None.
    """

    seconds: Mapping[str, float]
    refused: Mapping[str, str]
    file: Path | None = None


def speed_key(executor: Executor) -> str:
    """What the speed of an executor depends on, besides the model and the machine."""
    conditions = getattr(executor, "conditions", "")
    return f"{executor.identity}, {conditions}" if conditions else executor.identity


def speeds_of(network: Network, inputs: Sequence[Any], executors: Sequence[Executor]) -> Speeds:
    """Measure executors, unless these were compared before: same machine, clock limits, weights, versions, conditions.

    Args:
        inputs: of the model.
    """
    path = _path(network)
    names = {_name(executor): executor.identity for executor in executors}
    entries = _read(path)
    # A refusal may have come from a full disk or from lack of memory.
    recent = not path.exists() or time.time() - path.stat().st_mtime < _REFUSAL_S
    answers = ((entry, {*entry.seconds, *(entry.refused if recent else ())}) for entry in entries)
    known = next((entry for entry, answered in answers if names.keys() <= answered), None)
    if known is not None:
        return replace(_by_identity(known, names), file=path)
    entry = _measure(network, inputs, executors)
    new = {*entry.seconds, *entry.refused}
    _write(path, _File((*(old for old in entries if not {*old.seconds, *old.refused} <= new), entry)))
    return _by_identity(entry, names)


def forget_speeds(network: Network) -> None:
    """Remove what the cache has of a model, as it does not hold any more."""
    with contextlib.suppress(OSError):
        _path(network).unlink(missing_ok=True)


def _by_identity(entry: _Entry, names: Mapping[str, str]) -> Speeds:
    return Speeds(
        {names[name]: seconds for name, seconds in entry.seconds.items() if name in names},
        {names[name]: reason for name, reason in entry.refused.items() if name in names},
    )


def _name(executor: Executor) -> str:
    """What its speed depends on, with the tolerance that decides whether an executor may run a model."""
    tolerance = getattr(executor, "tolerance", None)
    return speed_key(executor) if tolerance is None else f"{speed_key(executor)} within {tolerance:g}"


def _measure(network: Network, inputs: Sequence[Any], executors: Sequence[Executor]) -> _Entry:
    segments: dict[str, Segment] = {}
    refused: dict[str, str] = {}
    for executor in executors:
        try:
            segment = executor.prepare(network, 0, network.table.last)
            segment.run(inputs)
        except Exception as error:  # noqa: BLE001 - a runtime may raise anything
            reason = str(error) if isinstance(error, MidcutError) else f"{type(error).__name__}: {error}"
            refused[_name(executor)] = " ".join(reason.split())[:300]
        else:
            segments[_name(executor)] = segment
    return _Entry(_median_seconds(segments, inputs), refused)


def _median_seconds(segments: Mapping[str, Segment], inputs: Sequence[Any]) -> dict[str, float]:
    """Seconds of each segment, which has run before; they take turns."""
    measured: dict[str, list[float]] = {name: [] for name in segments}
    began = perf_counter()
    for number in range(1, 1 + _MOST_ROUNDS):
        for name, segment in segments.items():
            measured[name].append(segment.run(inputs)[1])
        took_s = perf_counter() - began
        if number >= _LEAST_ROUNDS and took_s > (_LONGEST_S if number < _ROUNDS else _SHORTEST_S):
            break
    return {name: statistics.median(values) for name, values in measured.items()}


def _path(network: Network) -> Path:
    from midcut.profiles.measuring import this_machine, versions  # noqa: PLC0415 - it imports this package

    table = network.table
    conditions = (table.fingerprint, this_machine(), _clock_limits(), versions().get("midcut", ""))
    digest = hashlib.sha256("\n".join(map(str, conditions)).encode()).hexdigest()[:16]
    return cache_folder("speeds") / f"{file_name(table.model)}-{digest}.json"


def _clock_limits() -> tuple[str, ...]:
    """Highest clock and governor of each group of cores; empty where the machine does not say them."""
    found = []
    for file in (policy / name for policy in sorted(_CPUFREQ.glob("policy*")) for name in _LIMITS):
        with contextlib.suppress(OSError):  # missing, or all cores of the group are off
            found.append(file.read_text(encoding="ascii").strip())
    return tuple(found)


def _read(path: Path) -> tuple[_Entry, ...]:
    if not path.exists():
        return ()
    try:
        return read_json(path, _File, "comparison of executors", "it is measured anew").measured
    except FileError as error:
        _log.warning("cached seconds not used", reason=str(error))
        return ()


def _write(path: Path, content: _File) -> None:
    try:
        write_json(path, content, "comparison of executors")
    except FileError as error:
        _log.warning("the next start measures the executors anew", reason=str(error))
