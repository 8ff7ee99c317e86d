"""Settings of `midcut simulate`: scenarios, published numbers, and the simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from midcut.config.settings.aiming import AimSettings
from midcut.config.settings.bounds import check_at_least, check_over_zero, check_share, check_tiers
from midcut.config.settings.cutting import CutSettings
from midcut.config.settings.gaming import GameSettings
from midcut.errors import ConfigError
from midcut.fields import known_fields


class DistributionKind(Enum):
    """How the values of one telemetry field are produced."""

    constant = "constant"
    values = "values"
    uniform = "uniform"
    normal = "normal"
    poisson = "poisson"


RANDOM_KINDS = (DistributionKind.uniform, DistributionKind.normal, DistributionKind.poisson)
_REQUIRED = {
    DistributionKind.constant: ("value",),
    DistributionKind.values: ("values",),
    DistributionKind.uniform: ("low", "high"),
    DistributionKind.normal: ("mean", "sd"),
    DistributionKind.poisson: ("mean",),
}
_MAX_COUNT_MEAN = 1e9


@dataclass
class Distribution:
    """The values of one telemetry field. Each kind uses its own settings and ignores the others.

    Attributes:
        kind: `constant`: value; `values`: values, repeated in order; `uniform`: from low to high;
            `normal`: mean and sd, clipped to low and high; `poisson`: counts with a mean, times unit.
        value: the value of `constant`.
        values: the values of `values`.
        mean: the mean of `normal`, in the field's unit, or of `poisson`, in counts.
        sd: the standard deviation of `normal`.
        low, high: bounds of `uniform`, and of the clipped `normal` (null is no bound); low is also the least count
            of `poisson` (null is 1).
        unit: the field's value for one count of `poisson`.
    """

    kind: DistributionKind = DistributionKind.constant
    value: float | None = None
    values: list[float] = field(default_factory=list)
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    unit: float = 1.0

    def check(self, key: str) -> None:
        """Check the settings that its kind needs; an error names a setting by `key`, its place in the config."""
        kind, low, high = self.kind, self.low, self.high
        for name in _REQUIRED[kind]:
            if getattr(self, name) in (None, []):
                raise ConfigError(f"{key}.{name} must be given for kind={kind.value}")
        for name in (*_REQUIRED[kind], "low", "high", "unit"):
            number = getattr(self, name)
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"{key}.{name} must be a finite number, got {number}")
        if kind in RANDOM_KINDS and low is not None and high is not None and low > high:
            raise ConfigError(f"{key}.low={low:g} must not exceed {key}.high={high:g}")
        if kind is DistributionKind.normal:
            check_at_least(0, self, f"{key}.sd")
        if kind is DistributionKind.poisson and not 0.0 <= (self.mean or 0.0) <= _MAX_COUNT_MEAN:
            raise ConfigError(f"{key}.mean must be from 0 to {_MAX_COUNT_MEAN:g} counts, got {self.mean:g}")


class ScenarioKind(Enum):
    """Where a simulation's samples come from."""

    drawn = "drawn"
    trace = "trace"


@dataclass
class ScenarioDrawn:
    """Samples drawn from distributions, or listed one by one.

    Attributes:
        kind: set by scenario=NAME.
        samples: their number; null is the length of the longest list of values.
        seed: seed of numpy's default generator. bandwidth_kbps is drawn first, then clock_mhz, then ping_ms.
        clock_mhz, bandwidth_kbps, ping_ms: the distribution of each.
        others: distributions of further fields by name, e.g. `{second_ping_ms: {value: 20}}`; drawn last.
    """

    kind: ScenarioKind = ScenarioKind.drawn
    samples: int | None = None
    seed: int = 0
    clock_mhz: Distribution = field(default_factory=Distribution)
    bandwidth_kbps: Distribution = field(default_factory=Distribution)
    ping_ms: Distribution = field(default_factory=Distribution)
    others: dict[str, Distribution] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_at_least(0, self, "scenario.seed")
        for name in ("clock_mhz", "bandwidth_kbps", "ping_ms"):
            getattr(self, name).check(f"scenario.{name}")
        for name, distribution in self.others.items():
            if name not in known_fields() or name in ("clock_mhz", "bandwidth_kbps", "ping_ms"):
                raise ConfigError(f"scenario.others.{name}: the further fields are {_further_fields()}")
            distribution.check(f"scenario.others.{name}")


def _further_fields() -> str:
    return ", ".join(name for name in known_fields() if name not in ("clock_mhz", "bandwidth_kbps", "ping_ms"))


class Observed(Enum):
    """What a picker sees of a recorded link: its newest transfer, the decayed mean of its transfers, or the link."""

    last_transfer = "last_transfer"
    decay = "decay"
    perfect = "perfect"


class Arrivals(Enum):
    """When requests arrive: one every `step_s`, or each when the one before has ended."""

    steady = "steady"
    back_to_back = "back_to_back"


@dataclass
class ScenarioTrace:
    """Requests over a recorded trace. A transfer takes as long as the trace takes to deliver it.

    Planners that see only their own transfers have a circuit breaker, as a running edge at the defaults of
    `engine.breaker_failures` and `engine.retry_after_s`. Nothing holds requests back after a time-out for planners with
    `observed=perfect` or that learn, for `systems` and for fixed strategies such as `cloud_only`.

    Attributes:
        kind: set by scenario=NAME.
        path: a CSV or JSON file with time_s, clock_mhz, bandwidth_kbps and ping_ms; `midcut trace import` makes them.
        step_s: seconds between two requests, from the trace's first row to its end.
        arrivals: `steady`, or `back_to_back`: as many requests, each when the one before has ended, so that every
            strategy has times of its own; the trace starts again at its end.
        clock_mhz, ping_ms: for a trace without that column, as recorded links mostly are.
        observed: what planners see of the link: `decay` (as `passive_bandwidth.estimate=decay`) and `last_transfer`
            only what their own transfers have shown, with a probe of 200 kB after 10 s without one; `perfect` the true
            rate.
        lag_s: how much later they see it.
        interval_s: seconds between two planning steps.
    """

    kind: ScenarioKind = ScenarioKind.trace
    path: str = MISSING
    step_s: float = 1.0
    arrivals: Arrivals = Arrivals.steady
    clock_mhz: float | None = None
    ping_ms: float | None = None
    observed: Observed = Observed.decay
    lag_s: float = 0.0
    interval_s: float = 1.0

    def __post_init__(self) -> None:
        check_over_zero(self, "scenario.step_s")
        check_at_least(0, self, "scenario.lag_s", "scenario.interval_s", "scenario.ping_ms")
        check_over_zero(self, "scenario.clock_mhz")


class Metric(Enum):
    """The metric of a published number."""

    latency_s = "latency_s"
    cost_usd = "cost_usd"


@dataclass
class ClaimSettings:
    """A published number: how much more or less one strategy takes than another, over the means.

    Attributes:
        where: its place in the paper, e.g. `Figure 6`.
        what: a description in words.
        metric: latency_s or cost_usd.
        strategy: the strategy whose mean is compared; names as for `against`.
        against: the strategy it is compared with: a planner, latency_optimal, cost_optimal, edge_only, cloud_only,
            static_best or oracle.
        w: weight of both strategies; null where only one weight is simulated.
        published: the printed number, percent.
        note: why the simulation differs, for the report.
    """

    where: str = MISSING
    what: str = MISSING
    metric: Metric = MISSING
    strategy: str = MISSING
    against: str = MISSING
    published: float = MISSING
    w: float | None = None
    note: str = ""


@dataclass
class SimulateConfig:
    """Settings of `midcut simulate`.

    Attributes:
        model: the chosen model; its list of cuts is taken from the edge profile.
        predictor: the predictors that the planners use.
        truth: the predictors that stand for the real latency of each choice.
        cost, objective, strategy, codec: the cost model of both, further columns of a forecast, the planners and the
            codecs with their settings.
        executor: what `edge_profile=auto` is measured in.
        scenario: the samples.
        aim: the two columns of the forecast that planners weigh.
        cuts: which cuts are on offer.
        accuracy_floor: least share of inputs whose predicted class a codec must not change; codecs below it, or with an
            unknown share, are not offered. null offers all.
        edge_profile, cloud_profile: measured seconds, for the predictors that use them: a profile file, a folder of
            profiles, or a shipped device, whose seconds are estimated for models that it has no profile of.
        relay_profile, tiers: with 3 tiers a placement has two cuts, and a relay between edge and cloud, with this
            profile, runs what lies between them; the scenario also has `second_bandwidth_kbps` and `second_ping_ms`.
        w: weight at which every planner is evaluated; a list, or `"0:1:0.01"` for 0 to 1 in steps of 0.01.
        reply_timeout_s: planners and systems do not pick a placement whose predicted link and cloud seconds exceed it;
            over a trace the edge finishes a request that has no reply by then. null waits for ever.
        give_up_factor: over a trace, `engine.give_up_factor` of the edge that is simulated: where link and cloud take
            this many times what the planner or system predicted, the edge starts the tail too, and the first result
            counts. Planners that learn and fixed strategies wait.
        population: repetitions of a drawn scenario, with the seeds 0, 1, ...
        dwell: planners and systems are also evaluated with these numbers of samples between two switches, at least;
            over a trace planners with so many planning steps, as `engine.dwell`, and with so many requests if
            `scenario.observed=perfect`.
        keep_samples: up to that many samples are written out one by one.
        systems: whole systems to compare, by name: each a list of what one types after `midcut plan`, e.g.
            `{kang: ["policy=neurosurgeon", "planner=weighted_sum", "planner.w=1"]}`; null for none. Costs, objectives
            and profiles are those of this simulation.
        users: that many users, each with a sample of its own, share one cloud whose price rises with its load (after
            Gao et al. 2021); 0 compares planners instead.
        game: what they pay and weigh.
        claims: published numbers to compare with the simulated ones.
        title: name of this run in the report; null is the model's name.
        objectives: names of the result's numbers that a sweeper like Optuna optimises, e.g.
            `[algorithm1.latency_s,algorithm1.cost_usd]`.
    """

    model: Any = field(default_factory=dict)
    predictor: Any = MISSING
    truth: Any = MISSING
    cost: Any = MISSING
    objective: Any = field(default_factory=dict)
    strategy: Any = field(default_factory=dict)
    codec: Any = field(default_factory=dict)
    executor: Any = MISSING
    scenario: Any = MISSING
    aim: AimSettings = field(default_factory=AimSettings)
    cuts: CutSettings = field(default_factory=CutSettings)
    accuracy_floor: float | None = None
    edge_profile: str = "pi4"
    cloud_profile: str = "cloud"
    relay_profile: str = "cloud"
    tiers: int = 2
    w: Any = 0.5
    reply_timeout_s: float | None = 10.0
    give_up_factor: float | None = None
    population: int = 0
    dwell: list[int] = field(default_factory=list)
    keep_samples: int = 1000
    systems: Any = None
    users: int = 0
    game: GameSettings = field(default_factory=GameSettings)
    claims: list[ClaimSettings] = field(default_factory=list)
    title: str | None = None
    objectives: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_share(self, "accuracy_floor")
        check_at_least(0, self, "population", "dwell", "keep_samples", "users")
        check_over_zero(self, "reply_timeout_s", "give_up_factor")
        check_tiers(self)
