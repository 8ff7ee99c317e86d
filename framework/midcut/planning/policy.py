"""Predictors, cost model and planner put together: they turn an observation into a decision."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import numpy as np
import structlog

from midcut.component import Kind
from midcut.config.registry import registry
from midcut.errors import ConfigError, ForecastError, PluginError
from midcut.planning.fields import positive_field
from midcut.planning.pricing import bills_more, request_usd
from midcut.protocols import Learner
from midcut.types import LATENCY_AND_COST, Decision, Forecast, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.protocols import CostModel, LatencyPredictor, LimitedPlanner, Objective, Planner
    from midcut.types import Floats, InferenceResult, Ints, Observation, Placement, Placements

_log = structlog.get_logger("midcut.planning.policy")
PARTS = ("edge", "link", "cloud")
_NO_PARTS: Mapping[str, Floats] = MappingProxyType({})
_UNUSED_WEIGHT = 0.5  # for planners that follow no weight


@dataclass(eq=False)
class Forecaster:
    """Predictors, a cost model and further objectives: turns an observation into a forecast.

    Attributes:
        objectives: each adds a column to the forecasts.
        aim: names of the two columns that planners weigh.
        needs: observation fields without which there is no forecast.
        based_on: part of the latency -> where its predictor's numbers come from, in words. A predictor may give
            this in an attribute `based_on`; parts whose predictor has none are absent.
        between: predictors of the parts between link and cloud, by name, where the placements have three tiers.

    Raises:
        ConfigError: two objectives with one column, or an aim at a column that there is not.
    """

    placements: Placements
    edge: LatencyPredictor
    link: LatencyPredictor
    cloud: LatencyPredictor
    cost: CostModel
    objectives: Sequence[Objective] = field(default=(), kw_only=True)
    aim: tuple[str, str] = field(default=LATENCY_AND_COST, kw_only=True)

    between: Mapping[str, LatencyPredictor] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        check_columns([objective.column for objective in self.objectives], self.aim)
        predictors = {"edge": self.edge, "link": self.link, **self.between, "cloud": self.cloud}
        self.needs = frozenset[str]().union(*(predictor.needs for predictor in predictors.values()))
        self.needs |= getattr(self.cost, "needs", frozenset())
        self.needs = self.needs.union(*(objective.needs for objective in self.objectives))
        sources = {part: str(getattr(predictor, "based_on", "")) for part, predictor in predictors.items()}
        self.based_on = {part: source for part, source in sources.items() if source}
        self._prepares = bool(self.placements.prepare_s.any())

    def forecast(self, observation: Observation) -> Forecast:
        """Predict every placement for one observation, or for an array of them.

        Returns:
            arrays of shape (..., P), where (...) is the shape of the observation's fields.
        """
        edge_s = self.edge.seconds(observation)
        if self._prepares:
            edge_s = edge_s + self._prepare_s(observation)
        link_s = self.link.seconds(observation)
        cloud_s = self.cloud.seconds(observation)
        if not edge_s.shape == link_s.shape == cloud_s.shape:
            edge_s, link_s, cloud_s = np.broadcast_arrays(edge_s, link_s, cloud_s)
        if not self.between:
            return self.complete(observation, edge_s, link_s, cloud_s)
        between = {name: predictor.seconds(observation) for name, predictor in self.between.items()}
        shape = np.broadcast_shapes(edge_s.shape, *(part_s.shape for part_s in between.values()))
        edge_s, link_s, cloud_s = (_broadcast(part_s, shape) for part_s in (edge_s, link_s, cloud_s))
        between = {name: _broadcast(part_s, shape) for name, part_s in between.items()}
        return self.complete(observation, edge_s, link_s, cloud_s, between=between)

    def _prepare_s(self, observation: Observation) -> Floats:
        """Seconds of decoding and preprocessing a picture, at the edge's clock where both clocks are known."""
        at_mhz = self.placements.prepare_mhz
        if not at_mhz or observation.clock_mhz is None:
            return self.placements.prepare_s
        seconds: Floats = self.placements.prepare_s * (at_mhz / positive_field(observation, "clock_mhz"))
        return seconds

    def complete(
        self,
        observation: Observation,
        edge_s: Floats,
        link_s: Floats,
        cloud_s: Floats,
        before: Forecast | None = None,
        between: Mapping[str, Floats] = _NO_PARTS,
    ) -> Forecast:
        """Price the parts of a latency, and add the columns of the objectives.

        Args:
            observation: what the parts were predicted from.
            edge_s, link_s, cloud_s: shape (..., P).
            before: the forecast of the predictors alone, if these parts are corrected.
            between: the parts between link and cloud, by name, likewise.
        """
        cost_usd = self._cost_usd(observation, edge_s, link_s, cloud_s, between)
        if not self.objectives:
            return Forecast(self.placements, edge_s, link_s, cloud_s, cost_usd, before, between=between)
        plain = Forecast(self.placements, edge_s, link_s, cloud_s, cost_usd, between=between)
        shape = plain.latency_s.shape
        columns = {
            objective.column: np.broadcast_to(objective.values(plain, observation), shape)
            for objective in self.objectives
        }
        return Forecast(self.placements, edge_s, link_s, cloud_s, cost_usd, before, columns, self.aim, between)

    def _cost_usd(
        self, observation: Observation, edge_s: Floats, link_s: Floats, cloud_s: Floats, between: Mapping[str, Floats]
    ) -> Floats:
        if not between and not bills_more(self.cost):
            seconds_usd: Floats = self.cost.cost_usd(edge_s, link_s, cloud_s)
            return seconds_usd
        placed = self.placements
        usage = Usage(
            edge_s,
            link_s,
            cloud_s,
            placed.request_bytes,
            placed.reply_bytes,
            placed.cut,
            placed.codec,
            observation,
            between.get("relay"),
            between.get("second_link"),
            *((placed.onward.request_bytes, placed.onward.reply_bytes) if placed.onward is not None else ()),
        )
        usd = request_usd(self.cost, usage)
        return np.broadcast_to(usd, np.broadcast_shapes(np.shape(usd), edge_s.shape))


def _broadcast(part_s: Floats, shape: tuple[int, ...]) -> Floats:
    return part_s if part_s.shape == shape else np.broadcast_to(part_s, shape)


def check_columns(columns: Sequence[str], aim: Sequence[str]) -> None:
    """Refuse objectives that share a column, and an aim at a column that there is not.

    Raises:
        ConfigError: the message names the column.
    """
    for name in (*columns, *aim):
        if (*LATENCY_AND_COST, *columns).count(name) > 1:
            raise ConfigError(f"objective: the column {name!r} comes from two objectives; choose one of them")
    for place, name in zip(("aim.first", "aim.second"), aim, strict=True):
        if name not in (*LATENCY_AND_COST, *columns):
            known = ", ".join((*LATENCY_AND_COST, *columns))
            raise ConfigError(f"{place}={name}: the forecast has {known}; objective=NAME adds other columns")
    if aim[0] == aim[1]:
        raise ConfigError(f"aim.first and aim.second are both {aim[0]}: planners weigh two different columns")


def choose_in_time(planner: Planner, forecast: Forecast, w: float | Floats, reply_timeout_s: float | None) -> Ints:
    """Let a planner choose among the placements whose link and cloud seconds are within a reply timeout.

    A placement that will not be answered must not be picked, and must not be the unit of planners that scale by the
    worst placement either. Where all are too late, all are on offer.

    Args:
        planner: is asked.
        forecast: arrays of shape (..., P), with at most one leading axis where some placements are late.
        w: as `midcut.protocols.Planner.choose` takes it.
        reply_timeout_s: None waits for ever.

    Returns:
        rows of the forecast, as the planner's `choose` shapes them.
    """
    aimed = forecast.aimed()
    if reply_timeout_s is None:
        return _rows(planner, aimed, w)
    late = np.atleast_1d(forecast.away_s > reply_timeout_s)
    if late.any():  # rarely; where all are late, none is left out
        late &= ~late.all(axis=-1, keepdims=True)
    if not late.any():
        return _rows(planner, aimed, w)
    if late.ndim == 1:
        return np.asarray(np.flatnonzero(~late)[_rows(planner, aimed.only(~late), w)])
    shape = (*np.shape(w)[:-1], len(late))
    rows = np.empty(shape, dtype=np.intp)
    patterns, pattern = np.unique(late, axis=0, return_inverse=True)
    for number, excluded in enumerate(patterns):
        (members,) = np.nonzero(pattern.ravel() == number)
        weights = w if np.ndim(w) == 0 or np.shape(w)[-1] == 1 else np.asarray(w)[..., members]
        offered = forecast.at(members).only(~excluded).aimed()
        rows[..., members] = np.flatnonzero(~excluded)[_rows(planner, offered, weights)]
    return rows


def _rows(planner: Planner, forecast: Forecast, w: float | Floats) -> Ints:
    """Let a planner choose, and check what it returns, as it may be a plugin's."""
    picked = planner.choose(forecast, w)
    rows = np.asarray(picked)
    one = rows.ndim == forecast.latency_s.ndim - 1 == np.ndim(w) == 0  # as a running edge asks: checked in less time
    if one and rows.dtype.kind in "iu" and 0 <= int(rows) < len(forecast):
        return rows
    shape = np.broadcast_shapes(forecast.latency_s.shape[:-1], np.shape(w))
    if rows.dtype.kind in "iu" and rows.shape == shape and rows.size and 0 <= rows.min() <= rows.max() < len(forecast):
        return rows
    shown = " ".join(repr(picked).split())[:80]
    wanted = f"integer row indices of shape {shape}" if shape else "an integer row index"
    raise PluginError(
        f"{_plugin_text(planner)} returned {shown} from choose(); the contract (midcut.protocols.Planner): {wanted} "
        f"of the forecast, here from 0 to {len(forecast) - 1}"
    )


@dataclass(eq=False)
class Policy(Forecaster):
    """What `policy=...` selects: a forecaster, and a planner that picks a placement from its forecasts.

    Attributes:
        reply_timeout_s: how long the transport waits for a reply; None where it waits for ever. A placement whose
            link and cloud seconds exceed it is not picked, because its requests would never be answered.
    """

    planner: Planner
    reply_timeout_s: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sources_logged = not self.based_on
        parts = (self.edge, self.link, self.cloud, self.cost, *self.objectives, self.planner)
        self._learners = tuple(part for part in parts if isinstance(part, Learner))

    def answered(self, placement: Placement, observation: Observation, result: InferenceResult) -> None:
        """Pass an answered request on to the components that learn. One that fails is logged and not asked again."""
        for learner in self._learners:
            try:
                learner.answered(placement, observation, result)
            except Exception:  # noqa: BLE001 - a plugin's learner must not cost an answer
                _log.exception("a learner failed; it learns no more", learner=type(learner).__name__)
                self._learners = tuple(other for other in self._learners if other is not learner)

    def decide(
        self, observation: Observation, correct: Callable[[Forecast, Observation, Forecaster], Forecast] | None = None
    ) -> Decision:
        """Decide on one complete observation. The first call logs which profiles the forecasts use.

        Args:
            correct: live calibration, which corrects the forecast by measured latencies; None trusts the predictors.

        Raises:
            ForecastError: no placement can be chosen; the message says why.
        """
        start = perf_counter()
        forecast = self.forecast(observation)
        if correct is not None:
            forecast = correct(forecast, observation, self)
        index = self._ask(self.planner, forecast)
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
        if not self._sources_logged:
            self._sources_logged = True
            _log.info("profiles used", **self.based_on)
        return decision

    def limit_status(self, forecast: Forecast, index: int) -> tuple[str, bool]:
        """The planner's limit in words, and whether a row of a single forecast keeps it.

        `""` and True for a planner without a limit.
        """
        # Not `isinstance`: on a protocol it takes longer than the planner's choice.
        if not hasattr(self.planner, "meets"):
            return "", True
        planner = cast("LimitedPlanner", self.planner)
        return planner.limit, bool(planner.meets(forecast.aimed(), np.asarray(index)))

    def would_choose(self, forecast: Forecast) -> int:
        """The row that the planner would choose of another forecast. One that learns is asked by a shallow copy.

        Raises:
            ForecastError: no placement can be chosen; the message says why.
        """
        # Not `isinstance`, as above.
        planner = copy.copy(self.planner) if hasattr(self.planner, "answered") else self.planner
        return self._ask(planner, forecast)

    def _ask(self, planner: Planner, forecast: Forecast) -> int:
        w = _UNUSED_WEIGHT if planner.w is None else planner.w
        return int(choose_in_time(planner, forecast, w, self.reply_timeout_s))

    def runner_up(self, decision: Decision) -> dict[str, float] | None:
        """The forecast row the planner would pick without the chosen placement; None where it would pick none."""
        if decision.forecast is None or len(decision.forecast) < 2:
            return None
        rest = decision.forecast.without(decision.index)
        try:
            return rest.row(self.would_choose(rest))
        except ForecastError:  # only the chosen placement keeps the limit
            return None


def _plugin_text(planner: Planner) -> str:
    """The planner's name and the plugin that offers it; the class alone where no plugin does."""
    target = f"{type(planner).__module__}.{type(planner).__qualname__}"
    for (kind, name), offer in registry().offers.items():
        if kind is Kind.PLANNER and offer.component.target == target:
            return f"planner {name!r} of {offer.source}"
    return f"planner {target}"
