"""Predictors, cost model and planner put together: an observation in, a decision out."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, cast

import numpy as np
import structlog

from midcut.errors import ForecastError
from midcut.types import Decision, Forecast

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.protocols import CostModel, LatencyPredictor, LimitedPlanner, Planner
    from midcut.types import Observation, Placements

_log = structlog.get_logger("midcut.planning.policy")
PARTS = ("edge", "link", "cloud")
_ANY_WEIGHT = 0.5


class Forecaster:
    """Predictors and a cost model: an observation in, a forecast out.

    Attributes:
        needs: observation fields without which there is no forecast.
        based_on: part of the latency -> where its predictor's numbers come from, for people: what a predictor
            may say of itself in an attribute `based_on`.
    """

    def __init__(
        self,
        placements: Placements,
        edge: LatencyPredictor,
        link: LatencyPredictor,
        cloud: LatencyPredictor,
        cost: CostModel,
    ) -> None:
        self.placements = placements
        self.cost = cost
        self.needs = edge.needs | link.needs | cloud.needs
        self._parts = (edge, link, cloud)
        said = {name: str(getattr(part, "based_on", "")) for name, part in zip(PARTS, self._parts, strict=True)}
        self.based_on = {name: text for name, text in said.items() if text}

    def forecast(self, observation: Observation) -> Forecast:
        """Predict every placement for one observation, or for an array of them.

        Returns:
            arrays of shape (..., P), where (...) is the shape of the observation's fields.
        """
        edge_s, link_s, cloud_s = (part.seconds(observation) for part in self._parts)
        if not edge_s.shape == link_s.shape == cloud_s.shape:
            edge_s, link_s, cloud_s = np.broadcast_arrays(edge_s, link_s, cloud_s)
        return Forecast(self.placements, edge_s, link_s, cloud_s, self.cost.cost_usd(edge_s, link_s, cloud_s))


class Policy(Forecaster):
    """What `policy=...` selects: a forecaster, and a planner that picks from what it says.

    Args:
        reply_timeout_s: how long the transport waits for a reply. Placements that would take longer there and back are
            not picked, as none of their requests would be answered. None where nothing gives up.
    """

    def __init__(
        self,
        placements: Placements,
        edge: LatencyPredictor,
        link: LatencyPredictor,
        cloud: LatencyPredictor,
        cost: CostModel,
        planner: Planner,
        reply_timeout_s: float | None = None,
    ) -> None:
        super().__init__(placements, edge, link, cloud, cost)
        self.planner = planner
        self._reply_timeout_s = reply_timeout_s
        self._said = not self.based_on

    def decide(
        self, observation: Observation, correct: Callable[[Forecast, CostModel], Forecast] | None = None
    ) -> Decision:
        """One planning step on one complete observation. The first one logs what the forecasts rest on.

        Args:
            correct: what has learnt how far off the predictors are; None takes them at their word.

        Raises:
            ForecastError: no placement can be chosen; the message says why.
        """
        start = perf_counter()
        forecast = self.forecast(observation)
        if correct is not None:
            forecast = correct(forecast, self.cost)
        index = self._choose(forecast)
        limit, met = self.limit_status(forecast, index)
        decision = Decision(
            placement=self.placements[index],
            index=index,
            held="",
            weight=self.planner.w,
            observation=observation,
            forecast=forecast,
            planning_s=perf_counter() - start,
            limit=limit,
            met=met,
        )
        if not self._said:
            self._said = True
            _log.info("forecasts rest on", **self.based_on)
        return decision

    def limit_status(self, forecast: Forecast, index: int) -> tuple[str, bool]:
        """The planner's own limit in words, and whether a row of a single forecast keeps it; `""` and True without."""
        # Asking `isinstance` of a protocol takes longer than a choice.
        if not hasattr(self.planner, "meets"):
            return "", True
        planner = cast("LimitedPlanner", self.planner)
        return planner.limit, bool(planner.meets(forecast, np.asarray(index)))

    def _choose(self, forecast: Forecast) -> int:
        w = _ANY_WEIGHT if self.planner.w is None else self.planner.w
        if self._reply_timeout_s is not None:
            late = forecast.link_s + forecast.cloud_s > self._reply_timeout_s
            if late.any() and not late.all():
                return int(np.flatnonzero(~late)[self.planner.choose(forecast.only(~late), w)])
        return int(self.planner.choose(forecast, w))

    def runner_up(self, decision: Decision) -> dict[str, float] | None:
        """The forecast row the planner would take if the chosen one were not there; None where it would take none."""
        if decision.forecast is None or len(decision.forecast) < 2:
            return None
        rest = decision.forecast.without(decision.index)
        try:
            return rest.row(self._choose(rest))
        except ForecastError:  # a limit that only the chosen one keeps
            return None
