"""How numbers and names are written for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LABELS = {
    "latency_optimal": "latency-optimal",
    "cost_optimal": "cost-optimal",
    "edge_only": "edge only",
    "cloud_only": "cloud only",
    "static_best": "best fixed cut",
    "oracle": "oracle",
    "algorithm1": "Algorithm 1",
    "weighted_sum": "weighted sum",
    "epsilon_constraint": "epsilon-constraint",
    "knee": "knee point",
}
PAPER_POLICY = {"edge": "power_law", "link": "eq3", "cloud": "linear"}
DEFAULT_POLICY = {"edge": "profile", "link": "round_trip", "cloud": "profile"}


def label(strategy: str) -> str:
    """A strategy's name for people; a planner of somebody else keeps its own."""
    return LABELS.get(strategy, strategy)


def policy_label(parts: Mapping[str, str]) -> str:
    """A predictor set in words."""
    names = ", ".join(parts.values())
    known = {tuple(PAPER_POLICY.items()): "paper", tuple(DEFAULT_POLICY.items()): "default"}
    name = known.get(tuple((part, parts.get(part, "")) for part in PAPER_POLICY))
    return f"{name} ({names})" if name else names


def number(value: float, digits: int = 4) -> str:
    """Significant digits without an exponent, as far as that is readable."""
    if value == 0.0:
        return "0"
    return f"{value:,.{digits}g}" if 1e-4 <= abs(value) < 10**digits else _far(value, digits)


def _far(value: float, digits: int) -> str:
    return f"{value:,.0f}" if 1.0 <= abs(value) < 1e9 else f"{value:.{digits - 1}e}"


def milliseconds(value_s: float) -> str:
    return number(value_s * 1e3)


def microdollars(value_usd: float) -> str:
    return number(value_usd * 1e6)


def percent(share: float) -> str:
    """A share of one, e.g. 0.123 as `12.3 %`."""
    return f"{share * 100:.1f} %"


def signed(points: float) -> str:
    """Percent that may go either way, e.g. -65.5."""
    text = f"{points:+.2f}"
    return text.replace("-", "−")


def interval(value: Mapping[str, float]) -> str:
    """Mean and 5-95 % of a percentage over other seeds."""
    return f"{signed(value['mean'])} [{signed(value['p5'])}, {signed(value['p95'])}]"


def weight(value: float) -> str:
    return f"{value:g}"


def knobs(values: Mapping[str, Any]) -> str:
    """A component's settings on one line, e.g. `bandwidth_kbps poisson (mean 9, unit 1000), seed 2189`."""
    return ", ".join(f"{name} {_knob(value)}" for name, value in values.items() if _counts(name, value))


def _counts(name: str, value: Any) -> bool:
    """Whether a knob says anything: not what is unset, and not the factor 1."""
    return value is not None and value != [] and (name, value) != ("unit", 1.0)


def _knob(value: Any) -> str:
    if isinstance(value, dict):
        listed = knobs({name: one for name, one in value.items() if name != "kind"})
        kind = value.get("kind")
        return f"{kind} ({listed})" if kind and listed else str(kind or f"({listed})")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_knob(one) for one in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
