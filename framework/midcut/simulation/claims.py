"""Published numbers beside the simulated ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from midcut.errors import ConfigError
from midcut.results.simulation import Claim, Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.config.settings import ClaimSettings
    from midcut.simulation.strategies import Strategy
    from midcut.types import Floats

Means: TypeAlias = "Mapping[str, Floats]"
"""`latency_s` and `cost_usd` -> means of one strategy, shape (W,) or (W, repetitions)."""


def check_claims(claims: Sequence[ClaimSettings], strategies: Sequence[Strategy], weights: Sequence[float]) -> None:
    """Refuse claims about something that is not simulated, before anything is computed.

    Raises:
        ConfigError: an unknown strategy, a weight that is not simulated, or a published number that is not finite.
    """
    known = [strategy.name for strategy in strategies]
    for position, claim in enumerate(claims):
        where = f"claims[{position}]"
        for setting in ("strategy", "against"):
            name = getattr(claim, setting)
            if name not in known:
                raise ConfigError(
                    f"{where}.{setting}: no strategy is named {name!r} here; there are: {', '.join(known)}"
                )
        if not np.isfinite(claim.published):
            raise ConfigError(f"{where}.published must be a finite number, in percent, got {claim.published}")
        if claim.w is None and len(weights) > 1:
            raise ConfigError(f"{where}.w must be given: {len(weights)} weights are simulated")
        if claim.w is not None and claim.w not in weights:
            raise ConfigError(f"{where}.w={claim.w:g} is not simulated; w is {', '.join(f'{w:g}' for w in weights)}")


def simulated_claim(
    claim: ClaimSettings,
    weights: Sequence[float],
    means: Mapping[str, Means],
    repeated: Mapping[str, Means],
) -> Claim:
    """Compute the number that a claim is about.

    Args:
        claim: a claim that `check_claims` has accepted.
        weights: the simulated values of w.
        means: strategy -> means over the chosen samples.
        repeated: strategy -> means over the samples of every repetition; empty without repetitions.
    """
    w = weights[0] if claim.w is None else claim.w

    def percent_change(by_strategy: Mapping[str, Means]) -> Floats | None:
        columns = [by_strategy[strategy][claim.metric.value] for strategy in (claim.strategy, claim.against)]
        # A strategy that follows no weight has a single row.
        value, divisor = (column[weights.index(w) if len(column) > 1 else 0] for column in columns)
        return None if np.any(divisor <= 0.0) else 100.0 * (value / divisor - 1.0)

    simulated, population = percent_change(means), percent_change(repeated) if repeated else None
    return Claim(
        where=claim.where,
        what=claim.what,
        metric=claim.metric.value,
        strategy=claim.strategy,
        w=w,
        against=claim.against,
        published=claim.published,
        simulated=None if simulated is None else float(simulated),
        population=None if population is None else interval_of(population),
        note=claim.note,
    )


def interval_of(values: Floats) -> Interval:
    """Mean and 5th to 95th percentile over the repetitions, shape (R,)."""
    low, high = np.percentile(values, (5.0, 95.0))
    return Interval(mean=float(values.mean()), p5=float(low), p95=float(high))


def ratio_intervals(
    repeated: Mapping[str, Means], strategy: str, metric: str, divisors: Sequence[str]
) -> list[dict[str, Interval]]:
    """For every weight of a strategy: name of a divisor -> the strategy's mean relative to the divisor's.

    A divisor whose mean is 0 in some repetition is left out.
    """
    rows: list[dict[str, Interval]] = [{} for _ in repeated[strategy][metric]]
    for name in divisors:
        divisor = repeated[name][metric][0]
        if np.all(divisor > 0.0):
            for row, values in zip(rows, repeated[strategy][metric], strict=True):
                row[name] = interval_of(values / divisor)
    return rows
