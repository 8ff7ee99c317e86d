"""What a multirun amounts to: which knob was swept, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midcut.reporting.texts import label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midcut.reporting.load import Sweep
    from midcut.results.sweep import Job

OBJECTIVES = ("latency_s", "cost_usd")


@dataclass(frozen=True)
class Curve:
    """One line of a sweep's figure.

    Attributes:
        name: the other knobs that were swept, and the planner where a job reports several.
        strategy: that planner, else empty.
        points: (knob, latency_s, cost_usd), ascending.
    """

    name: str
    strategy: str
    points: tuple[tuple[float, float, float], ...]


def swept_knobs(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Overrides that differ between the jobs: knob -> its values, in order."""
    values: dict[str, list[str]] = {}
    for job in jobs:
        for knob, value in _overrides(job).items():
            seen = values.setdefault(knob, [])
            if value not in seen:
                seen.append(value)
    return {knob: seen for knob, seen in values.items() if len(seen) > 1}


def outcomes(job: Job) -> dict[str, tuple[float, float]]:
    """Latency and cost of what a job returned: by planner where it names several, else under an empty name."""
    return dict(_outcomes("", job.result))


def curves(sweep: Sweep) -> tuple[str, tuple[Curve, ...]] | None:
    """The numeric knob with most values, and a curve over it for every combination of the others.

    Returns:
        the knob and its curves; None where nothing numeric was swept over three values or more.
    """
    knobs = swept_knobs(sweep.jobs)
    numeric = [knob for knob, values in knobs.items() if len(values) > 2 and all(map(_is_number, values))]
    if not numeric:
        return None
    swept = max(numeric, key=lambda knob: len(knobs[knob]))
    lines: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for job in sweep.jobs:
        given = _overrides(job)
        if swept not in given:
            continue
        rest = [f"{knob}={value}" for knob, value in given.items() if knob in knobs and knob != swept]
        for strategy, (latency_s, cost_usd) in outcomes(job).items():
            name = ", ".join([*([label(strategy)] if strategy else []), *rest])
            lines.setdefault((name, strategy), []).append((float(given[swept]), latency_s, cost_usd))
    return swept, tuple(Curve(*line, tuple(sorted(points))) for line, points in lines.items())


def _overrides(job: Job) -> dict[str, str]:
    return {knob: value for knob, _, value in (override.partition("=") for override in job.overrides)}


def _outcomes(name: str, result: Any, depth: int = 0) -> Iterator[tuple[str, tuple[float, float]]]:
    if not isinstance(result, dict):
        return
    latency_s, cost_usd = (_median(result.get(objective)) for objective in OBJECTIVES)
    if latency_s is not None and cost_usd is not None:
        yield name, (latency_s, cost_usd)
    elif depth < 2:
        for inside, value in result.items():
            yield from _outcomes(str(inside), value, depth + 1)


def _median(value: Any) -> float | None:
    """A number, or the median of a stream's summary."""
    found = value.get("median") if isinstance(value, dict) else value
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
