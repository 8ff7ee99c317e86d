"""The planners that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_planners.config import (
    Algorithm1Config,
    EpsilonConstraintConfig,
    KneeConfig,
    LinUcbConfig,
    ThroughputConfig,
    WeightedSumConfig,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_planners() -> Sequence[Component]:
    return (
        Component(
            name="algorithm1",
            config=Algorithm1Config,
            target="midcut_planners.algorithm1.Algorithm1",
            summary="the paper's Algorithm 1: first match of two ranked lists",
        ),
        Component(
            name="weighted_sum",
            config=WeightedSumConfig,
            target="midcut_planners.weighted_sum.WeightedSum",
            summary="smallest weighted sum of scaled latency and cost",
        ),
        Component(
            name="epsilon_constraint",
            config=EpsilonConstraintConfig,
            target="midcut_planners.epsilon_constraint.EpsilonConstraint",
            summary="cheapest under a latency limit, or fastest under a budget",
        ),
        Component(
            name="throughput",
            config=ThroughputConfig,
            target="midcut_planners.throughput.Throughput",
            summary="fastest that keeps up with a request rate (DADS)",
        ),
        Component(
            name="linucb",
            config=LinUcbConfig,
            target="midcut_planners.linucb.LinUcb",
            summary="learns link and cloud from the requests (ANS)",
        ),
        Component(
            name="knee",
            config=KneeConfig,
            target="midcut_planners.knee.Knee",
            summary="knee point of the Pareto front",
        ),
    )
