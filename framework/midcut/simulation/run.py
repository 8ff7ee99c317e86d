"""The whole simulation: turns a setup into a result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midcut.config.settings import Arrivals, ScenarioTrace
from midcut.errors import ConfigError
from midcut.planning import check_weight
from midcut.results.simulation import Simulation
from midcut.simulation.back_to_back import BackToBack
from midcut.simulation.chunks import ForecastChunks
from midcut.simulation.claims import check_claims, simulated_claim
from midcut.simulation.evaluate import evaluate, repeated_means
from midcut.simulation.over_trace import TraceRun
from midcut.simulation.prediction_errors import part_errors
from midcut.simulation.scenario import RecordedTrace, draw_repetitions, has_random_field, make_samples
from midcut.simulation.strategies import make_strategies
from midcut.simulation.systems import system_strategies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.config.settings import ClaimSettings, ScenarioDrawn
    from midcut.planning.policy import Forecaster, Policy
    from midcut.protocols import Planner
    from midcut.results.simulation import Front, Series
    from midcut.simulation.claims import Means
    from midcut.simulation.scenario import Samples
    from midcut.simulation.strategies import Strategy
    from midcut.types import Floats


MAX_DECISIONS = 250_000_000
"""Samples times weights. The 95th percentile keeps a twentieth of all latencies: some 10 bytes a decision in all."""


@dataclass(frozen=True)
class Setup:
    """The inputs of one simulation.

    Attributes:
        planning: makes the forecasts that strategies decide on.
        truth: makes the forecasts that are taken as true, for the same placements.
        planners: name -> planner.
        weights: one or more, none repeated; every planner is asked at each.
        scenario: the scenario from which the samples are drawn.
        reply_timeout_s: see `midcut.planning.policy.choose_in_time`.
        give_up_factor: see `midcut.planning.patience`; for a trace only.
        population: number of repetitions with other seeds.
        dwell: planners and systems are also evaluated with each of these dwells, none repeated; see `SimulateConfig`.
        keep_samples: the result lists every sample if there are at most this many.
        claims: numbers printed in a publication, which the simulation is compared with.
        systems: name -> a policy with its own predictors, planner, weight and columns to weigh; judged by `truth` too.
    """

    planning: Forecaster
    truth: Forecaster
    planners: Mapping[str, Planner]
    weights: tuple[float, ...]
    scenario: ScenarioDrawn | ScenarioTrace
    reply_timeout_s: float | None = None
    give_up_factor: float | None = None
    population: int = 0
    dwell: tuple[int, ...] = ()
    keep_samples: int = 1000
    claims: tuple[ClaimSettings, ...] = ()
    systems: Mapping[str, Policy] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultHeader:
    """What the result says of the setup: title, scenario, names of components and profiles; see `Simulation`."""

    title: str
    scenario: dict[str, object]
    policy: dict[str, str]
    truth: dict[str, str]
    cost: str
    after: tuple[str, ...]
    based_on: dict[str, str] = field(default_factory=dict)


def simulate(setup: Setup, header: ResultHeader, progress: Callable[[float], None] = lambda _share: None) -> Simulation:
    """Evaluate every strategy on the same samples.

    Args:
        setup: the inputs of the simulation.
        header: what the result says of the setup.
        progress: called now and then with the share of the work that is done, 0 to 1.

    Raises:
        ConfigError: a setting cannot be used.
        FileError: a trace cannot be read.
        ForecastError: a forecast that no planner can choose from.
    """
    strategies = _strategies(setup)
    _check_setup(setup, strategies)
    trace = RecordedTrace(setup.scenario) if isinstance(setup.scenario, ScenarioTrace) else None
    samples = make_samples(setup.scenario) if trace is None else trace.steady()
    _check_samples(setup, samples)
    repeated = None
    if setup.population and has_random_field(setup.scenario):
        repeated = draw_repetitions(setup.scenario, range(setup.population))
    placements = setup.truth.placements
    total = len(samples) + (len(repeated) if repeated else 0)
    finished_samples = 0

    def advance(count: int) -> None:
        nonlocal finished_samples
        finished_samples += count
        progress(finished_samples / total)

    def in_chunks(of: Samples, *, apart: bool = False) -> ForecastChunks:
        run = _trace_run(setup, of)
        return ForecastChunks(setup.planning, setup.truth, of, len(samples), setup.weights, run, advance, apart=apart)

    keep = len(samples) <= setup.keep_samples
    means_over_seeds: dict[str, Means] = {}
    fronts: tuple[Front, ...] = ()
    if trace is not None and (one_by_one := _back_to_back(setup, strategies, trace, samples)) is not None:
        all_series = tuple(one_by_one.evaluate(samples, advance, keep=keep))
    else:
        evaluations = evaluate(in_chunks(samples), strategies, placements, setup.dwell, keep=keep)
        if repeated:
            learn = any(strategy.learns for strategy in strategies)
            means_over_seeds = repeated_means(in_chunks(repeated, apart=learn), lambda: _strategies(setup))
        all_series = tuple(series for evaluation in evaluations for series in evaluation.series(means_over_seeds))
        fronts = tuple(front for evaluation in evaluations if (front := evaluation.front()))
    means = _means(all_series)
    return Simulation(
        **vars(header),
        model=placements.model,
        samples=len(samples),
        population=setup.population if repeated else 0,
        cuts=tuple(placements.cut.tolist()),
        layers=tuple(placements.layer.tolist()),
        weights=setup.weights,
        series=all_series,
        fronts=fronts,
        errors=part_errors(setup.planning, setup.truth, samples),
        claims=tuple(simulated_claim(claim, setup.weights, means, means_over_seeds) for claim in setup.claims),
        clock_mhz=_values_to_keep(samples.fields.get("clock_mhz"), keep=keep),
        bandwidth_kbps=_values_to_keep(samples.fields.get("bandwidth_kbps"), keep=keep),
        ping_ms=_values_to_keep(samples.fields.get("ping_ms"), keep=keep),
        time_s=_values_to_keep(samples.time_s, keep=keep),
        capacity_kbps=_values_to_keep(samples.carried_kbps(), keep=keep),
        codecs=placements.codec,
        second_cuts=() if placements.onward is None else tuple(placements.onward.cut.tolist()),
        aim=setup.planning.aim,
    )


def _strategies(setup: Setup) -> list[Strategy]:
    strategies = make_strategies(setup.planners, setup.weights, setup.reply_timeout_s)
    return strategies + system_strategies(setup.systems.items(), setup.truth.placements, setup.reply_timeout_s)


def _trace_run(setup: Setup, samples: Samples) -> TraceRun | None:
    scenario = setup.scenario
    if samples.capacity is None or not isinstance(scenario, ScenarioTrace):
        return None
    return TraceRun(
        samples.capacity,
        scenario.observed,
        scenario.lag_s,
        scenario.interval_s,
        setup.reply_timeout_s,
        setup.give_up_factor,
    )


def _back_to_back(
    setup: Setup, strategies: Sequence[Strategy], trace: RecordedTrace, samples: Samples
) -> BackToBack | None:
    """What sends one request after the other; None where requests arrive at steady times."""
    if not isinstance(setup.scenario, ScenarioTrace) or setup.scenario.arrivals is not Arrivals.back_to_back:
        return None
    run = _trace_run(setup, samples)
    if run is None:
        raise ConfigError("scenario.arrivals=back_to_back needs a trace with bandwidth_kbps")
    return BackToBack(setup.planning, setup.truth, trace, strategies, setup.weights, run, setup.dwell)


def _means(all_series: Sequence[Series]) -> dict[str, Means]:
    """Strategy -> its mean latency and cost at each of its weights, without dwell."""
    rows: dict[str, dict[float | None, Series]] = {}
    for series in all_series:
        if not series.dwell:
            rows.setdefault(series.strategy, {})[series.w] = series
    return {
        name: {metric: np.array([getattr(row, metric) for row in at.values()]) for metric in ("latency_s", "cost_usd")}
        for name, at in rows.items()
    }


def _check_setup(setup: Setup, strategies: Sequence[Strategy]) -> None:
    if not setup.weights:
        raise ConfigError("w must be a number or a list of numbers, got none")
    for setting, values in {"w": setup.weights, "dwell": setup.dwell}.items():
        repeated = [value for value in dict.fromkeys(values) if values.count(value) > 1]
        if repeated:
            raise ConfigError(f"{setting} must not repeat a number, got {repeated[0]:g} more than once")
    both = sorted(set(setup.systems) & set(setup.planners))
    if both:
        raise ConfigError(f"systems.{both[0]}: a planner of strategy= has that name; choose another name")
    if setup.give_up_factor is not None and not isinstance(setup.scenario, ScenarioTrace):
        raise ConfigError("give_up_factor is about transfers over a recorded link: it needs scenario=trace")
    check_weight(np.array(setup.weights))
    check_claims(setup.claims, strategies, setup.weights)


def _check_samples(setup: Setup, samples: Samples) -> None:
    decisions = len(samples) * len(setup.weights)
    if decisions > MAX_DECISIONS:
        raise ConfigError(
            f"samples times weights must be at most {MAX_DECISIONS:,}, got {len(samples):,} x {len(setup.weights):,}"
        )
    missing = sorted((setup.planning.needs | setup.truth.needs) - set(samples.fields))
    if missing:
        raise ConfigError(f"the trace has no {' and no '.join(missing)}, which the predictors need")


def _values_to_keep(values: Floats | None, *, keep: bool) -> tuple[float, ...]:
    return tuple(values.tolist()) if keep and values is not None else ()
