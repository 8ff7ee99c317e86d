"""Predictors, cost model and planner put together: an observation in, a decision out."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import structlog

from midcut.types import Decision, Forecast

if TYPE_CHECKING:
    from midcut.protocols import CostModel, LatencyPredictor, Planner
    from midcut.types import Observation, Placements

_log = structlog.get_logger("midcut.policy")
PARTS = ("edge", "link", "cloud")


class Policy:
    """What `policy=...` selects.

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
        planner: Planner,
    ) -> None:
        self.placements = placements
        self.cost = cost
        self.planner = planner
        self.needs = edge.needs | link.needs | cloud.needs
        self._parts = (edge, link, cloud)
        said = {name: str(getattr(part, "based_on", "")) for name, part in zip(PARTS, self._parts, strict=True)}
        self.based_on = {name: text for name, text in said.items() if text}
        self._said = not self.based_on

    def forecast(self, observation: Observation) -> Forecast:
        """Predict every placement for one observation, or for an array of them.

        Returns:
            arrays of shape (..., P), where (...) is the shape of the observation's fields.
        """
        edge_s, link_s, cloud_s = (part.seconds(observation) for part in self._parts)
        if not edge_s.shape == link_s.shape == cloud_s.shape:
            edge_s, link_s, cloud_s = np.broadcast_arrays(edge_s, link_s, cloud_s)
        return Forecast(self.placements, edge_s, link_s, cloud_s, self.cost.cost_usd(edge_s, link_s, cloud_s))

    def decide(self, observation: Observation) -> Decision:
        """One planning step on one complete observation. The first one logs what the forecasts rest on.

        Raises:
            ForecastError: no placement can be chosen; the message says why.
        """
        start = perf_counter()
        forecast = self.forecast(observation)
        w = self.planner.w
        index = int(self.planner.choose(forecast, w))
        decision = Decision(
            placement=self.placements[index],
            index=index,
            held="",
            weight=w,
            observation=observation,
            forecast=forecast,
            planning_s=perf_counter() - start,
        )
        if not self._said:
            self._said = True
            _log.info("forecasts rest on", **self.based_on)
        return decision

    def runner_up(self, decision: Decision) -> dict[str, float] | None:
        """The forecast row the planner would take if the chosen one were not there."""
        if decision.forecast is None or len(decision.forecast) < 2:
            return None
        rest = decision.forecast.without(decision.index)
        return rest.row(int(self.planner.choose(rest, decision.weight)))
