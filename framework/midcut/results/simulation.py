"""`simulation.json`: planners on many samples, against a truth set. `midcut simulate` writes it.

The same configuration gives the same bytes: nothing here depends on the time, the machine or the folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from midcut.results.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "simulation.json"
FORMAT = "midcut-simulation/1"


class Interval(msgspec.Struct, frozen=True):
    """A statistic over repetitions of the scenario with other seeds."""

    mean: float
    p5: float
    p95: float


class OverTrace(msgspec.Struct, frozen=True):
    """What the requests of one strategy took over a recorded link, one by one.

    Attributes:
        edge_s, link_s, cloud_s: the parts of each latency.
        ended: 0 where the reply came in time, 1 where the edge gave up (`give_up_factor`), 2 after a time-out.
        seen_kbps: the bandwidth that the picker saw, 0 where it knew none; empty for strategies that look at none.
        relay_s, second_link_s: the parts between link and cloud on three tiers; else empty.
        time_s: when each request arrived, where every strategy has times of its own; else empty (`Simulation.time_s`).
    """

    edge_s: tuple[float, ...]
    link_s: tuple[float, ...]
    cloud_s: tuple[float, ...]
    ended: tuple[int, ...]
    seen_kbps: tuple[float, ...] = ()
    relay_s: tuple[float, ...] = ()
    second_link_s: tuple[float, ...] = ()
    time_s: tuple[float, ...] = ()


class Series(msgspec.Struct, frozen=True):
    """One strategy at one weight, over all samples of the chosen seed.

    Attributes:
        strategy: `latency_optimal`, `cost_optimal`, `edge_only`, `cloud_only`, `static_best`, `oracle`, or a planner.
        planner: whether it is an installed planner (else one of the fixed strategies above).
        w: the weight; 0 and 1 for the two optimal strategies, None for strategies that follow no weight.
        latency_s, cost_usd: means of its picks over the samples, by the truth set.
        latency_p95_s: 95th percentile over the samples.
        latency_regret: mean latency over the mean of the fastest placement of every sample, minus 1.
        objective_regret: mean over the samples of J(pick) - min J, where J = (1 - w) latency + w cost, both
            min-max scaled over the placements of the sample; where the run aims at other columns, those two take the
            places of latency and cost. None where w is None.
        dominated: share of picks for which another placement is better in one objective and not worse in the other.
        distinct: number of different placements (cut and codec) picked over the samples.
        switches_per_100: per 100 samples, how often the pick differs from that of the sample before.
        dwell: planning steps (samples, without a trace or with `observed=perfect`) that a placement stays in use at
            least; 0 is without dwell.
        objectives: means of the further columns that were chosen (`objective=`), by name.
        unmet: share of samples where no placement satisfied the planner's own limit; None for planners without one.
        latency_ratio, cost_ratio: over repetitions, mean latency (cost) relative to the mean of `latency_optimal`
            and of `cost_optimal`, by that name; empty without a population, or where that mean is 0.
        picks: picked cut of every sample; empty where there are more samples than the file keeps.
        codecs: codec of every pick; empty also where every cut is on offer with one codec only.
        second_picks, second_codecs: likewise of the second cut, on three tiers; else empty.
        sample_latency_s, sample_cost_usd: likewise.
        over_trace: likewise, where a recorded link was sampled.
    """

    strategy: str
    planner: bool
    w: float | None
    latency_s: float
    cost_usd: float
    latency_p95_s: float
    latency_regret: float
    objective_regret: float | None
    dominated: float
    distinct: int
    switches_per_100: float
    dwell: int = 0
    objectives: dict[str, float] = {}
    unmet: float | None = None
    latency_ratio: dict[str, Interval] = {}
    cost_ratio: dict[str, Interval] = {}
    picks: tuple[int, ...] = ()
    codecs: tuple[str, ...] = ()
    second_picks: tuple[int, ...] = ()
    second_codecs: tuple[str, ...] = ()
    sample_latency_s: tuple[float, ...] = ()
    sample_cost_usd: tuple[float, ...] = ()
    over_trace: OverTrace | None = None


class Front(msgspec.Struct, frozen=True):
    """One planner over all weights: means over the samples.

    Attributes:
        hypervolume: area dominated by its picks over the area dominated by all placements; both below and left of
            the worst latency and cost of the sample, by the truth set. 1 where the true front has no area.
        front_share: share of the sample's Pareto-optimal (latency, cost) points that some weight reached.
        dominated: share of picks, over samples and weights, that another placement dominates.
        distinct: number of different placements over the weights.
        objective_regret: mean of `Series.objective_regret` over the weights.
    """

    planner: str
    hypervolume: float
    front_share: float
    dominated: float
    distinct: float
    objective_regret: float


class PartError(msgspec.Struct, frozen=True):
    """How far the picking predictors are from the truth set, over samples and placements where the truth is not 0.

    Attributes:
        part: `edge`, `link`, `cloud`, `latency` or `cost`.
        mape: mean of |predicted - true| / true; None, as the others, where a prediction was infinite.
        p95: its 95th percentile.
        bias: mean of (predicted - true) / true.
    """

    part: str
    mape: float | None
    p95: float | None
    bias: float | None


class Claim(msgspec.Struct, frozen=True):
    """A published number beside the simulated ones, all in percent: 100 * (ratio of means - 1).

    Attributes:
        where: e.g. `Figure 6`.
        what: in words, e.g. `cost against latency-optimal`.
        metric: `latency_s` or `cost_usd`.
        strategy, w: whose mean.
        against: the strategy it is divided by.
        published: as printed.
        simulated: with the chosen seed; None where the divisor is 0.
        population: over other seeds; None where the scenario is not drawn.
        note: why it differs, as the experiment says.
    """

    where: str
    what: str
    metric: str
    strategy: str
    w: float
    against: str
    published: float
    simulated: float | None
    population: Interval | None = None
    note: str = ""


class Simulation(msgspec.Struct, frozen=True):
    """A whole run.

    Attributes:
        title: the experiment's, or the model's name.
        model: name.
        scenario: its settings, as configured.
        policy: part -> what the picking predictor is called; `truth`: likewise for the truth set.
        cost: name of the cost model.
        samples, population: number of samples, and of repetitions with other seeds.
        cuts: cut of every placement; `layers`: finished leaf modules; `after`: name of the node before it;
            `codecs`: what its tensors are sent as, `raw` where nothing is sent; `second_cuts`: where a relay stops,
            on three tiers.
        weights: at which every planner picks.
        clock_mhz, bandwidth_kbps, ping_ms: of every sample; empty where there are more than the file keeps.
        time_s: of every sample where a trace was sampled; else empty.
        capacity_kbps: likewise, what the recorded link could carry from each request to the next.
        aim: names of the two columns that planners weigh.
        based_on: part -> where the picking predictor's numbers come from, and `truth.` + part likewise.
    """

    title: str
    model: str
    scenario: dict[str, Any]
    policy: dict[str, str]
    truth: dict[str, str]
    cost: str
    samples: int
    population: int
    cuts: tuple[int, ...]
    layers: tuple[int, ...]
    after: tuple[str, ...]
    weights: tuple[float, ...]
    series: tuple[Series, ...]
    fronts: tuple[Front, ...] = ()
    errors: tuple[PartError, ...] = ()
    claims: tuple[Claim, ...] = ()
    clock_mhz: tuple[float, ...] = ()
    bandwidth_kbps: tuple[float, ...] = ()
    ping_ms: tuple[float, ...] = ()
    time_s: tuple[float, ...] = ()
    capacity_kbps: tuple[float, ...] = ()
    based_on: dict[str, str] = {}
    codecs: tuple[str, ...] = ()
    second_cuts: tuple[int, ...] = ()
    aim: tuple[str, str] = ("latency_s", "cost_usd")
    format: str = FORMAT


def write_simulation(path: Path, simulation: Simulation) -> Path:
    """Write a simulation, whole or not at all.

    Raises:
        FileError: lists that do not fit together, or it cannot be written.
    """
    return write_json(path, simulation, "simulation", _fault)


def read_simulation(path: Path) -> Simulation:
    """Read a simulation.

    Raises:
        FileError: missing, not JSON, not this format, or lists that do not fit together; the message says where.
    """
    return read_json(path, Simulation, "simulation", "`midcut simulate` writes one", _fault)


def _fault(simulation: Simulation) -> str:
    """Name the first fault of a simulation, or return `""`."""
    for name, length, right in _lengths(simulation):
        if length not in (0, right):
            return f"$.{name} has {length} entries, not {right} or none"
    return ""


def _lengths(simulation: Simulation) -> Iterator[tuple[str, int, int]]:
    """Name and length of every list that may be empty, and the length it must have otherwise."""
    for name in ("layers", "after", "codecs", "second_cuts"):
        yield name, len(getattr(simulation, name)), len(simulation.cuts)
    for name in ("clock_mhz", "bandwidth_kbps", "ping_ms", "time_s", "capacity_kbps"):
        yield name, len(getattr(simulation, name)), simulation.samples
    for row, series in enumerate(simulation.series):
        for name in ("picks", "codecs", "second_picks", "second_codecs", "sample_latency_s", "sample_cost_usd"):
            yield f"series[{row}].{name}", len(getattr(series, name)), simulation.samples
        if series.over_trace is not None:
            for name in OverTrace.__struct_fields__:
                yield f"series[{row}].over_trace.{name}", len(getattr(series.over_trace, name)), simulation.samples
