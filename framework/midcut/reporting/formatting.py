"""Numbers and names as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from midcut.results.units import shown_column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


def strategy_label(strategy: str) -> str:
    """A strategy's name for people; planners of other plugins keep their own."""
    return LABELS.get(strategy, strategy)


def policy_label(parts: Mapping[str, str]) -> str:
    """The names of a set of predictors, and what the set is called."""
    names = ", ".join(parts.values())
    known = {tuple(PAPER_POLICY.items()): "paper", tuple(DEFAULT_POLICY.items()): "default"}
    name = known.get(tuple((part, parts.get(part, "")) for part in PAPER_POLICY))
    return f"{name} ({names})" if name else names


def as_number(value: float, digits: int = 4) -> str:
    """A number with some significant digits, without an exponent as long as that is readable."""
    if value == 0.0:
        return "0"
    rounded = abs(float(f"{value:.{digits}g}"))
    return f"{value:,.{digits}g}" if 1e-4 <= rounded < 10**digits else _large_or_tiny(value, digits)


def _large_or_tiny(value: float, digits: int) -> str:
    return f"{value:,.0f}" if 1.0 <= abs(value) < 1e9 else f"{value:.{digits - 1}e}"


def objective_title(column: str) -> str:
    """A further column of a forecast as a title, e.g. `energy [mJ]`."""
    shown = shown_column(column)
    return f"{shown.name} [{shown.unit}]" if shown.unit else shown.name


def objective_text(column: str) -> Callable[[float], str]:
    """A function that writes a value of a column beside latency and cost as text, in the unit of `objective_title`."""
    factor = shown_column(column).factor
    return lambda value: as_number(value * factor)


def in_milliseconds(value_s: float) -> str:
    return as_number(value_s * 1e3)


def in_microdollars(value_usd: float) -> str:
    return as_number(value_usd * 1e6)


def as_percent(share: float) -> str:
    """A share of one, e.g. 0.123 as `12.3 %`."""
    return f"{share * 100:.1f} %"


def as_signed(points: float) -> str:
    """A difference in percent with its sign, e.g. -65.50."""
    return f"{points:+.2f}".replace("-", "−")


def as_interval(value: Mapping[str, float]) -> str:
    """A percentage over other seeds: mean and 5-95 % interval."""
    return f"{as_signed(value['mean'])} [{as_signed(value['p5'])}, {as_signed(value['p95'])}]"


def as_weight(value: float) -> str:
    return f"{value:g}"


# A distribution has the settings of all kinds, and may have values of one that another file chose.
_USED: Final = {
    "constant": {"value"},
    "values": {"values"},
    "uniform": {"low", "high"},
    "normal": {"mean", "sd", "low", "high"},
    "poisson": {"mean", "low", "unit"},
}


def settings_text(values: Mapping[str, Any]) -> str:
    """A component's settings on one line, e.g. `bandwidth_kbps poisson (mean 9, unit 1000), seed 2189`."""
    return ", ".join(f"{name} {_setting(value)}" for name, value in values.items() if _is_informative(name, value))


def _is_informative(name: str, value: Any) -> bool:
    """Whether a setting is worth showing: unset ones and the factor 1 are not."""
    return value not in (None, [], {}) and (name, value) != ("unit", 1.0)


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        kind = value.get("kind")
        used = _USED.get(str(kind), value.keys() - {"kind"})
        settings = settings_text({name: inside for name, inside in value.items() if name in used})
        return f"{kind} ({settings})" if kind and settings else str(kind or f"({settings})")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_setting, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
