"""Which settings a multirun swept, and the latency and cost over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midcut.reporting.formatting import strategy_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midcut.reporting.load import Sweep
    from midcut.results.sweep import Job

OBJECTIVES = ("latency_s", "cost_usd")


@dataclass(frozen=True)
class Curve:
    """One curve in a sweep's figure.

    Attributes:
        name: the planner, where a job has results of several, and the values of the other swept settings.
        strategy: name of that planner, else empty.
        points: (value of the swept setting, latency_s, cost_usd), ascending.
    """

    name: str
    strategy: str
    points: tuple[tuple[float, float, float], ...]


def swept_settings(jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Settings that differ between the jobs: name of the setting -> its values, in the order of the jobs."""
    values: dict[str, dict[str, None]] = {}
    for job in jobs:
        for setting, value in _override_values(job).items():
            values.setdefault(setting, {})[value] = None
    return {setting: list(different) for setting, different in values.items() if len(different) > 1}


def job_outcomes(job: Job) -> dict[str, tuple[float, float]]:
    """Latency [s] and cost [USD] of a job: by planner where its result names several, else under an empty name."""
    return dict(_find_outcomes("", job.result))


def sweep_curves(sweep: Sweep) -> tuple[str, tuple[Curve, ...]] | None:
    """The numeric setting with most values, and a curve over it for every combination of the others.

    Returns:
        the setting and its curves; None where no setting was swept over three numbers or more.
    """
    settings = swept_settings(sweep.jobs)
    numeric = [setting for setting, values in settings.items() if len(values) > 2 and all(map(_is_number, values))]
    if not numeric:
        return None
    swept = max(numeric, key=lambda setting: len(settings[setting]))
    points: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for job in sweep.jobs:
        values = _override_values(job)
        if swept not in values:
            continue
        rest = [f"{setting}={value}" for setting, value in values.items() if setting in settings and setting != swept]
        for strategy, (latency_s, cost_usd) in job_outcomes(job).items():
            name = ", ".join([*([strategy_label(strategy)] if strategy else []), *rest])
            points.setdefault((name, strategy), []).append((float(values[swept]), latency_s, cost_usd))
    return swept, tuple(Curve(*names, tuple(sorted(curve))) for names, curve in points.items())


def _override_values(job: Job) -> dict[str, str]:
    return {setting: value for setting, _, value in (override.partition("=") for override in job.overrides)}


def _find_outcomes(name: str, result: Any, depth: int = 0) -> Iterator[tuple[str, tuple[float, float]]]:
    if not isinstance(result, dict):
        return
    latency_s, cost_usd = (_number_or_median(result.get(objective)) for objective in OBJECTIVES)
    if latency_s is not None and cost_usd is not None:
        yield name, (latency_s, cost_usd)
    elif depth < 2:
        for inside, value in result.items():
            yield from _find_outcomes(str(inside), value, depth + 1)


def _number_or_median(value: Any) -> float | None:
    """A number as it is, or the median in a stream's summary."""
    number = value.get("median") if isinstance(value, dict) else value
    return float(number) if isinstance(number, (int, float)) and not isinstance(number, bool) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
