"""Makes the samples of a simulation: drawn from distributions, taken from lists of values, or read from a trace."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from midcut.config.settings import RANDOM_KINDS, Distribution, DistributionKind, ScenarioDrawn, ScenarioTrace
from midcut.errors import ConfigError
from midcut.recordings import fill_columns
from midcut.simulation.link_capacity import LinkCapacity
from midcut.traces import read_trace
from midcut.types import FIELDS, Observation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from midcut.types import Floats, Ints

MAX_SAMPLES = 10_000_000
DRAWING_ORDER = ("bandwidth_kbps", "clock_mhz", "ping_ms")


@dataclass(frozen=True)
class Samples:
    """Telemetry values of every sample, in order of time.

    Attributes:
        fields: clock_mhz, bandwidth_kbps, ping_ms and others -> values, shape (S,). A trace may lack some of them.
        time_s: time of every sample, shape (S,); empty for samples that were not read from a trace.
        capacity: of the recorded link; None where there is none.
        seen_kbps: the link's rate as a perfect observer with a lag sees it, shape (S,).
    """

    fields: Mapping[str, Floats]
    time_s: Floats = field(default_factory=lambda: np.empty(0))
    capacity: LinkCapacity | None = None
    seen_kbps: Floats | None = None

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def observation(self, start: int, stop: int) -> Observation:
        """Samples `start` to `stop` as one observation of arrays."""
        rows: dict[str, Any] = {name: values[start:stop] for name, values in self.fields.items()}
        return Observation.of(rows, at_s=0.0)

    def every(self, step: int) -> Samples:
        """Only every `step`-th sample."""
        fields = {name: values[::step] for name, values in self.fields.items()}
        seen_kbps = None if self.seen_kbps is None else self.seen_kbps[::step]
        return Samples(fields, self.time_s[::step], self.capacity, seen_kbps)

    def carried_kbps(self) -> Floats | None:
        """Mean rate of the recorded link from each sample to the next, shape (S,); None where there is none."""
        if self.capacity is None or len(self.time_s) < 2:
            return None
        step_s = float(self.time_s[1] - self.time_s[0])
        carried: Floats = np.diff(self.capacity.carried_kbit(np.append(self.time_s, self.time_s[-1] + step_s))) / step_s
        return carried

    def seen(self, start: int, stop: int) -> Observation:
        """Samples `start` to `stop` as the perfect observer sees them."""
        observation = self.observation(start, stop)
        if self.seen_kbps is None:
            return observation
        values: dict[str, Any] = {**observation.values(), "bandwidth_kbps": self.seen_kbps[start:stop]}
        return Observation.of(values, at_s=0.0)


class RecordedTrace:
    """A trace whose telemetry is known at every time from its first row on; after its end it starts again.

    Raises:
        ConfigError: far more samples than can be simulated.
        FileError: the trace cannot be used.
    """

    def __init__(self, scenario: ScenarioTrace) -> None:
        given = {"clock_mhz": scenario.clock_mhz, "ping_ms": scenario.ping_ms}
        fill = {name: value for name, value in given.items() if value is not None}
        self._trace = fill_columns(read_trace(scenario.path).rebased(), fill)
        self._scenario = scenario
        duration_s, step_s = self._trace.duration_s, scenario.step_s
        if duration_s / step_s >= MAX_SAMPLES:
            raise ConfigError(f"scenario.step_s={step_s:g} makes more than {MAX_SAMPLES:,} samples of {duration_s:g} s")
        self._capacity = LinkCapacity(self._trace) if "bandwidth_kbps" in self._trace.fields else None

    def steady(self) -> Samples:
        """One sample every `step_s`, from the first row to the last."""
        # 1e-12: a step that divides the duration still reaches the end in spite of rounding.
        count = math.floor(self._trace.duration_s / self._scenario.step_s * (1 + 1e-12)) + 1
        return self.at(np.arange(count, dtype=np.float64) * self._scenario.step_s)

    def at(self, time_s: Floats) -> Samples:
        """Samples at times of one's choice, 0 or later, shape (S,)."""
        trace = self._trace
        fields = {name: values[self._rows_at(time_s)] for name, values in trace.fields.items()}
        if self._capacity is None:
            return Samples(fields, time_s)
        seen_kbps = trace.fields["bandwidth_kbps"][self._rows_at(np.maximum(time_s - self._scenario.lag_s, 0.0))]
        return Samples(fields, time_s, self._capacity, seen_kbps)

    def _rows_at(self, time_s: Floats) -> Ints:
        rows_s, within_s = self._trace.time_s, np.mod(time_s, self._trace.period_s)
        rows: Ints = np.maximum(np.searchsorted(rows_s, within_s * (1 + 1e-12), side="right") - 1, 0)
        return rows


def make_samples(scenario: ScenarioDrawn | ScenarioTrace) -> Samples:
    """The samples of a scenario.

    Raises:
        ConfigError: a setting is missing, or gives a value that no telemetry can have; the message names the setting.
        FileError: the trace cannot be used.
    """
    if isinstance(scenario, ScenarioTrace):
        return RecordedTrace(scenario).steady()
    return _draw_samples(scenario, (scenario.seed,))


def draw_repetitions(scenario: ScenarioDrawn, seeds: range) -> Samples:
    """Samples of the same distributions with other seeds, one repetition after the other.

    Raises:
        ConfigError: too many samples in all.
    """
    if (total := len(seeds) * _sample_count(scenario)) > MAX_SAMPLES:
        raise ConfigError(f"population times scenario.samples must be at most {MAX_SAMPLES:,}, got {total:,}")
    return _draw_samples(scenario, seeds)


def has_random_field(scenario: ScenarioDrawn | ScenarioTrace) -> TypeGuard[ScenarioDrawn]:
    """Whether a field is drawn at random, so that another seed gives other samples."""
    if isinstance(scenario, ScenarioTrace):
        return False
    return any(distribution.kind in RANDOM_KINDS for distribution in _distributions(scenario).values())


def _distributions(scenario: ScenarioDrawn) -> dict[str, Distribution]:
    """Field -> its distribution, in the order in which they are drawn."""
    return {name: getattr(scenario, name) for name in DRAWING_ORDER} | dict(scenario.others)


def _draw_samples(scenario: ScenarioDrawn, seeds: Iterable[int]) -> Samples:
    count = _sample_count(scenario)
    distributions = _distributions(scenario)
    drawn: dict[str, list[Floats]] = {name: [] for name in (*FIELDS, *scenario.others)}
    for seed in seeds:
        generator = np.random.default_rng(seed)
        for name, distribution in distributions.items():
            drawn[name].append(_draw_field(distribution, generator, count))
    fields = {name: np.concatenate(rows) for name, rows in drawn.items()}
    for name, values in fields.items():
        _check_values(name, values)
    return Samples(fields)


def _sample_count(scenario: ScenarioDrawn) -> int:
    listed = {
        name: len(distribution.values)
        for name, distribution in _distributions(scenario).items()
        if distribution.kind is DistributionKind.values
    }
    count = scenario.samples
    if count is None:
        if not listed:
            raise ConfigError("scenario.samples must be given: scenario.samples=N (only lists of values have a length)")
        count = max(listed.values())
        if not set(listed.values()) <= {1, count}:
            lengths = ", ".join(f"{name} {length}" for name, length in listed.items())
            raise ConfigError(
                f"lists of values must have equal lengths or length 1, got {lengths}; or give scenario.samples=N"
            )
    if not 1 <= count <= MAX_SAMPLES:
        raise ConfigError(f"scenario.samples must be from 1 to {MAX_SAMPLES:,}, got {count}")
    return count


def _draw_field(distribution: Distribution, generator: np.random.Generator, count: int) -> Floats:
    if distribution.kind is DistributionKind.constant:
        return np.full(count, distribution.value, dtype=np.float64)
    if distribution.kind is DistributionKind.values:
        return np.resize(np.array(distribution.values, dtype=np.float64), count)
    low, high = (bound if bound is None else float(bound) for bound in (distribution.low, distribution.high))
    if distribution.kind is DistributionKind.uniform:
        return generator.uniform(low or 0.0, high or 0.0, count)
    if distribution.kind is DistributionKind.poisson:
        counts = np.maximum(1.0 if low is None else low, generator.poisson(distribution.mean or 0.0, count))
        return counts * distribution.unit
    drawn: Floats = np.clip(
        generator.normal(distribution.mean or 0.0, distribution.sd or 0.0, count),
        -math.inf if low is None else low,
        math.inf if high is None else high,
    )
    return drawn


def _check_values(name: str, values: Floats) -> None:
    may_be_zero = name not in ("clock_mhz", "bandwidth_kbps", "second_bandwidth_kbps")
    good = np.isfinite(values) & (values >= 0.0 if may_be_zero else values > 0.0)
    if not good.all():
        bound = "0 or more" if may_be_zero else "over 0"
        raise ConfigError(f"scenario.{name} must be finite and {bound} at every sample, got {values[~good].flat[0]:g}")
