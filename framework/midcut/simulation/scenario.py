"""The samples a simulation runs over: drawn, gone through as listed, or read from a trace."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from midcut.config.settings import Distribution, DistributionKind, ScenarioDrawn, ScenarioTrace
from midcut.errors import ConfigError
from midcut.traces import read_trace
from midcut.types import FIELDS, Observation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from midcut.types import Floats

MAX_SAMPLES = 10_000_000
DRAWING_ORDER = ("bandwidth_kbps", "clock_mhz", "ping_ms")
_MAX_COUNT_MEAN = 1e9
_RANDOM = (DistributionKind.uniform, DistributionKind.normal, DistributionKind.poisson)
_REQUIRED = {
    DistributionKind.constant: ("value",),
    DistributionKind.values: ("values",),
    DistributionKind.uniform: ("low", "high"),
    DistributionKind.normal: ("mean", "sd"),
    DistributionKind.poisson: ("mean",),
}


@dataclass(frozen=True)
class Samples:
    """Telemetry at every sample, in order of time.

    Attributes:
        fields: clock_mhz, bandwidth_kbps, ping_ms -> values, shape (S,). A trace may lack one.
        time_s: likewise; empty where samples have no time.
    """

    fields: Mapping[str, Floats]
    time_s: Floats = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def observation(self, start: int, stop: int) -> Observation:
        """Samples `start` to `stop` as one observation of arrays."""
        rows: dict[str, Any] = {name: values[start:stop] for name, values in self.fields.items()}
        return Observation(**rows, at_s=0.0)

    def every(self, step: int) -> Samples:
        """Every so many samples only."""
        return Samples({name: values[::step] for name, values in self.fields.items()})


def make_samples(scenario: ScenarioDrawn | ScenarioTrace) -> Samples:
    """The chosen samples.

    Raises:
        ConfigError: a knob is missing, or gives a value no telemetry has; the message names the knob.
        FileError: the trace cannot be used.
    """
    return _recorded(scenario) if isinstance(scenario, ScenarioTrace) else _drawn(scenario, (scenario.seed,))


def repeat(scenario: ScenarioDrawn, seeds: range) -> Samples:
    """The same distributions under other seeds, one repetition after the other.

    Raises:
        ConfigError: too many samples in all.
    """
    if (total := len(seeds) * _count(scenario)) > MAX_SAMPLES:
        raise ConfigError(f"population times scenario.samples must be at most {MAX_SAMPLES:,}, got {total:,}")
    return _drawn(scenario, seeds)


def is_random(scenario: ScenarioDrawn | ScenarioTrace) -> TypeGuard[ScenarioDrawn]:
    """Whether another seed gives other samples."""
    if isinstance(scenario, ScenarioTrace):
        return False
    return any(getattr(scenario, name).kind in _RANDOM for name in FIELDS)


def _drawn(scenario: ScenarioDrawn, seeds: Iterable[int]) -> Samples:
    for name in FIELDS:
        _check(f"scenario.{name}", getattr(scenario, name))
    count = _count(scenario)
    drawn: dict[str, list[Floats]] = {name: [] for name in FIELDS}
    for seed in seeds:
        if seed < 0:
            raise ConfigError(f"scenario.seed must be 0 or more, got {seed}")
        generator = np.random.default_rng(seed)
        for name in DRAWING_ORDER:
            drawn[name].append(_draw(getattr(scenario, name), generator, count))
    fields = {name: np.concatenate(rows) for name, rows in drawn.items()}
    for name, values in fields.items():
        _check_values(name, values)
    return Samples(fields)


def _count(scenario: ScenarioDrawn) -> int:
    listed = {
        name: len(distribution.values)
        for name in FIELDS
        if (distribution := getattr(scenario, name)).kind is DistributionKind.values
    }
    count = scenario.samples
    if count is None:
        if not listed:
            raise ConfigError("scenario.samples must be given: scenario.samples=N (only lists of values have a length)")
        count = max(listed.values())
        if not set(listed.values()) <= {1, count}:
            told = ", ".join(f"{name} {length}" for name, length in listed.items())
            raise ConfigError(f"lists of values must be equally long, or one long: {told}; or say scenario.samples=N")
    if not 1 <= count <= MAX_SAMPLES:
        raise ConfigError(f"scenario.samples must be from 1 to {MAX_SAMPLES:,}, got {count}")
    return count


def _draw(one: Distribution, generator: np.random.Generator, count: int) -> Floats:
    if one.kind is DistributionKind.constant:
        return np.full(count, one.value, dtype=np.float64)
    if one.kind is DistributionKind.values:
        return np.resize(np.array(one.values, dtype=np.float64), count)
    low, high = (bound if bound is None else float(bound) for bound in (one.low, one.high))
    if one.kind is DistributionKind.uniform:
        return generator.uniform(low or 0.0, high or 0.0, count)
    if one.kind is DistributionKind.poisson:
        counts = np.maximum(1.0 if low is None else low, generator.poisson(one.mean or 0.0, count))
        return counts * one.unit
    drawn: Floats = np.clip(
        generator.normal(one.mean or 0.0, one.sd or 0.0, count),
        -math.inf if low is None else low,
        math.inf if high is None else high,
    )
    return drawn


def _check(where: str, one: Distribution) -> None:
    for knob in _REQUIRED[one.kind]:
        if getattr(one, knob) in (None, []):
            raise ConfigError(f"{where}.{knob} must be given for kind={one.kind.value}")
    numbers = {knob: getattr(one, knob) for knob in (*_REQUIRED[one.kind], "low", "high", "unit") if knob != "values"}
    for knob, number in numbers.items():
        if number is not None and not math.isfinite(number):
            raise ConfigError(f"{where}.{knob} must be a finite number, got {number}")
    if one.kind in _RANDOM and one.low is not None and one.high is not None and one.low > one.high:
        raise ConfigError(f"{where}.low={one.low:g} must not be over {where}.high={one.high:g}")
    if one.kind is DistributionKind.normal and (one.sd or 0.0) < 0.0:
        raise ConfigError(f"{where}.sd must be 0 or more, got {one.sd:g}")
    if one.kind is DistributionKind.poisson and not 0.0 <= (one.mean or 0.0) <= _MAX_COUNT_MEAN:
        raise ConfigError(f"{where}.mean must be from 0 to {_MAX_COUNT_MEAN:g} counts, got {one.mean:g}")


def _check_values(name: str, values: Floats) -> None:
    good = np.isfinite(values) & (values >= 0.0 if name == "ping_ms" else values > 0.0)
    if not good.all():
        bound = "0 or more" if name == "ping_ms" else "over 0"
        raise ConfigError(f"scenario.{name} must be finite and {bound} at every sample, got {values[~good].flat[0]:g}")


def _recorded(scenario: ScenarioTrace) -> Samples:
    if not 0.0 < scenario.step_s < math.inf:
        raise ConfigError(f"scenario.step_s must be seconds, over 0, got {scenario.step_s:g}")
    trace = read_trace(scenario.path)
    if trace.duration_s / scenario.step_s >= MAX_SAMPLES:
        raise ConfigError(
            f"scenario.step_s={scenario.step_s:g} makes more than {MAX_SAMPLES:,} samples of {trace.duration_s:g} s"
        )
    # A step that divides the duration but for rounding still reaches the end.
    count = math.floor(trace.duration_s / scenario.step_s * (1 + 1e-12)) + 1
    time_s = np.arange(count, dtype=np.float64) * scenario.step_s
    row = np.maximum(np.searchsorted(trace.time_s, time_s * (1 + 1e-12), side="right") - 1, 0)
    return Samples({name: values[row] for name, values in trace.fields.items()}, time_s)
