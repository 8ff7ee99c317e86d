"""The simulation as a whole: a setup in, a result out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import ConfigError
from midcut.planning import check_weight
from midcut.results.simulation import Simulation
from midcut.simulation.claims import check_claims, settle
from midcut.simulation.discrepancy import part_errors
from midcut.simulation.evaluate import evaluate, repeated_means
from midcut.simulation.passes import Passes
from midcut.simulation.scenario import is_random, make_samples, repeat
from midcut.simulation.strategies import make_strategies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.config.settings import ClaimSettings, ScenarioDrawn, ScenarioTrace
    from midcut.planning.policy import Forecaster
    from midcut.protocols import Planner
    from midcut.simulation.scenario import Samples
    from midcut.simulation.strategies import Strategy
    from midcut.types import Floats


MAX_DECISIONS = 250_000_000
"""Samples times weights: the 95th percentile keeps the largest twentieth, some 10 bytes a decision in all."""


@dataclass(frozen=True)
class Setup:
    """What is simulated.

    Attributes:
        picking: forecasts that the strategies see; `truth`: what their picks really take. Of the same placements.
        planners: name -> planner.
        weights: every planner is asked at, one or more.
        scenario: where the samples come from.
        population: repetitions with other seeds.
        dwell: numbers of samples that planners are also made to stay for.
        keep_samples: up to that many samples are kept one by one.
        claims: published numbers.
    """

    picking: Forecaster
    truth: Forecaster
    planners: Mapping[str, Planner]
    weights: tuple[float, ...]
    scenario: ScenarioDrawn | ScenarioTrace
    population: int = 0
    dwell: tuple[int, ...] = ()
    keep_samples: int = 1000
    claims: tuple[ClaimSettings, ...] = ()


@dataclass(frozen=True)
class Names:
    """What the parts are called, for the record; see `Simulation`."""

    title: str
    scenario: dict[str, object]
    policy: dict[str, str]
    truth: dict[str, str]
    cost: str
    after: tuple[str, ...]
    based_on: dict[str, str] = field(default_factory=dict)


def simulate(setup: Setup, names: Names, progress: Callable[[float], None] = lambda _share: None) -> Simulation:
    """Evaluate every strategy on the same samples.

    Args:
        setup: what is simulated.
        names: for the record.
        progress: called now and then with the share of the work that is done, 0 to 1.

    Raises:
        ConfigError: a knob that cannot be used.
        FileError: a trace that cannot be read.
        ForecastError: a forecast that no planner can choose from.
    """
    strategies = make_strategies(setup.planners, setup.weights)
    _check(setup, strategies)
    samples = make_samples(setup.scenario)
    _check_samples(setup, samples)
    repeated = _repeated(setup)
    placements = setup.truth.placements
    total = len(samples) + (len(repeated) if repeated else 0)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done / total)

    def passes(over: Samples) -> Passes:
        return Passes(setup.picking, setup.truth, over, len(samples), setup.weights, advance)

    keep = len(samples) <= setup.keep_samples
    entries = evaluate(passes(samples), strategies, placements, setup.dwell, keep=keep)
    over_seeds = repeated_means(passes(repeated), strategies) if repeated else {}
    means = {entry.strategy.name: entry.tally.means() for entry in entries}
    return Simulation(
        **vars(names),
        model=placements.model,
        samples=len(samples),
        population=setup.population if repeated else 0,
        cuts=tuple(placements.cut.tolist()),
        layers=tuple(placements.layer.tolist()),
        weights=setup.weights,
        series=tuple(series for entry in entries for series in entry.series(over_seeds)),
        fronts=tuple(front for entry in entries if (front := entry.front())),
        errors=part_errors(setup.picking, setup.truth, samples),
        claims=tuple(settle(claim, setup.weights, means, over_seeds) for claim in setup.claims),
        clock_mhz=_listed(samples.fields.get("clock_mhz"), keep=keep),
        bandwidth_kbps=_listed(samples.fields.get("bandwidth_kbps"), keep=keep),
        ping_ms=_listed(samples.fields.get("ping_ms"), keep=keep),
        time_s=_listed(samples.time_s, keep=keep),
        codecs=placements.codec,
    )


def _check(setup: Setup, strategies: Sequence[Strategy]) -> None:
    if not setup.weights:
        raise ConfigError("w must be a number or a list of numbers, got none")
    check_weight(np.array(setup.weights))
    for knob, number in (("population", setup.population), ("keep_samples", setup.keep_samples)):
        if number < 0:
            raise ConfigError(f"{knob} must be 0 or more, got {number}")
    if min(setup.dwell, default=0) < 0:
        raise ConfigError(f"dwell must be numbers of samples, 0 or more, got {min(setup.dwell)}")
    check_claims(setup.claims, strategies, setup.weights)


def _check_samples(setup: Setup, samples: Samples) -> None:
    decisions = len(samples) * len(setup.weights)
    if decisions > MAX_DECISIONS:
        raise ConfigError(
            f"samples times weights must be at most {MAX_DECISIONS:,}, got {len(samples):,} x {len(setup.weights):,}"
        )
    missing = sorted((setup.picking.needs | setup.truth.needs) - set(samples.fields))
    if missing:
        raise ConfigError(f"the trace has no {' and no '.join(missing)}, which the predictors need")


def _repeated(setup: Setup) -> Samples | None:
    if not setup.population or not is_random(setup.scenario):
        return None
    return repeat(setup.scenario, range(setup.population))


def _listed(values: Floats | None, *, keep: bool) -> tuple[float, ...]:
    return tuple(values.tolist()) if keep and values is not None else ()
