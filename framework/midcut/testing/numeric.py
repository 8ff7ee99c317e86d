"""Contract suites for planners, latency predictors, cost models and objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from midcut.errors import ForecastError
from midcut.protocols import LimitedPlanner
from midcut.testing.fakes import chain_placements, installed_fields, random_forecast
from midcut.types import LATENCY_AND_COST, Forecast, Observation

if TYPE_CHECKING:
    from midcut.protocols import CostModel, LatencyPredictor, Objective, Planner
    from midcut.types import Placements


class PlannerSuite:
    """The contract of `midcut.protocols.Planner`. Subclass it and implement `make`.

    Set `pareto = False` for a planner that picks dominated placements on purpose, and `weighs = False` for one that
    does not weigh latency and cost at all.
    """

    pareto = True
    weighs = True

    def make(self) -> Planner:
        """Make a planner with any weight, or with a limit that is not strict."""
        raise NotImplementedError

    def test_a_single_forecast_gives_one_index(self) -> None:
        pick = self.make().choose(random_forecast(np.random.default_rng(1), 9), 0.5)
        assert np.shape(pick) == ()
        assert 0 <= int(pick) < 9

    def test_it_broadcasts_over_observations_and_weights(self) -> None:
        planner, weights = self.make(), np.linspace(0, 1, 5)
        forecast = random_forecast(np.random.default_rng(2), 7, leading=(4, 1))
        picks = planner.choose(forecast, weights)
        assert picks.shape == (4, 5)
        assert np.issubdtype(picks.dtype, np.integer)
        for row in range(4):
            alone = Forecast(
                forecast.placements,
                forecast.edge_s[row, 0],
                forecast.link_s[row, 0],
                forecast.cloud_s[row, 0],
                forecast.cost_usd[row, 0],
            )
            assert [int(planner.choose(alone, w)) for w in weights] == picks[row].tolist()

    def test_its_own_weight_is_in_range(self) -> None:
        w = self.make().w
        assert w is None or 0.0 <= w <= 1.0

    def test_the_same_forecast_gives_the_same_pick(self) -> None:
        forecast = random_forecast(np.random.default_rng(3), 30, levels=4)
        planner = self.make()
        assert int(planner.choose(forecast, 0.4)) == int(planner.choose(forecast, 0.4))

    def test_the_ends_of_the_weight_are_single_objective_optima(self) -> None:
        planner = self.make()
        for seed in range(50):
            forecast = random_forecast(np.random.default_rng(seed), 12, levels=5)
            if self.pareto and planner.w is not None:
                fast, cheap = int(planner.choose(forecast, 0.0)), int(planner.choose(forecast, 1.0))
                assert forecast.latency_s[fast] == forecast.latency_s.min()
                assert forecast.cost_usd[cheap] == forecast.cost_usd.min()

    def test_without_a_weight_of_its_own_it_picks_the_same_at_every_weight(self) -> None:
        planner = self.make()
        forecast = random_forecast(np.random.default_rng(7), 12, leading=(5, 1), levels=6)
        picks = planner.choose(forecast, np.linspace(0, 1, 4))
        assert planner.w is not None or (picks == picks[:, :1]).all()

    def test_a_limit_is_kept_where_a_placement_keeps_it(self) -> None:
        planner = self.make()
        if not isinstance(planner, LimitedPlanner):
            return
        forecast = random_forecast(np.random.default_rng(8), 12, leading=(40,), levels=6)
        picks = planner.choose(forecast, 0.5)
        met = planner.meets(forecast, picks)
        assert met.shape == picks.shape
        assert met.dtype == np.bool_
        assert (met == planner.meets(forecast, np.arange(12)[:, None]).any(axis=0)).all()

    def test_no_pick_is_dominated(self) -> None:
        planner = self.make()
        for seed in range(100 if self.pareto else 0):
            generator = np.random.default_rng(seed)
            forecast = random_forecast(generator, 15, levels=6)
            pick = int(planner.choose(forecast, float(generator.random())))
            latency, cost = forecast.latency_s, forecast.cost_usd
            no_worse = (latency <= latency[pick]) & (cost <= cost[pick])
            better = (latency < latency[pick]) | (cost < cost[pick])
            assert not (no_worse & better).any()

    def test_it_weighs_whichever_columns_are_aimed_at(self) -> None:
        if not self.weighs:
            return
        planner, generator = self.make(), np.random.default_rng(9)
        plain = random_forecast(generator, 15, levels=6)
        columns = {"energy_j": plain.latency_s, "period_s": plain.cost_usd}
        zero = np.zeros(15)
        aimed = Forecast(plain.placements, zero, zero, zero, zero, None, columns, ("energy_j", "period_s")).aimed()
        try:
            pick = int(planner.choose(aimed, 0.3))
        except ForecastError as error:  # a limit on latency or cost does not apply to others
            assert "aim" in str(error)  # noqa: PT017 - one of two right answers
            return
        assert pick == int(planner.choose(plain, 0.3))

    @pytest.mark.parametrize("w", [-0.01, 1.01, float("nan"), float("inf")])
    def test_it_refuses_a_weight_outside_0_to_1(self, w: float) -> None:
        with pytest.raises(ForecastError, match="w must be"):
            self.make().choose(random_forecast(np.random.default_rng(4), 3), w)

    def test_it_refuses_a_forecast_with_nan(self) -> None:
        forecast = random_forecast(np.random.default_rng(5), 3)
        forecast.edge_s[1] = np.nan
        with pytest.raises(ForecastError, match="latency_s = nan at cut 1"):
            self.make().choose(forecast, 0.5)

    def test_it_refuses_a_forecast_without_placements(self) -> None:
        with pytest.raises(ForecastError, match="no placement"):
            self.make().choose(random_forecast(np.random.default_rng(6), 0), 0.5)


class LatencyPredictorSuite:
    """The contract of `midcut.protocols.LatencyPredictor`, for every role. Subclass it and implement `make`."""

    observation: ClassVar[dict[str, Any]] = {"clock_mhz": 1200.0, "bandwidth_kbps": 8000.0, "ping_ms": 30.0}

    def placements(self) -> Placements:
        """Give placements to predict for; override it where the predictor knows only certain models."""
        return chain_placements([600_000, 200_000, 50_000, 4_000])

    def make(self, placements: Placements) -> LatencyPredictor:
        """Make a predictor for these placements."""
        raise NotImplementedError

    def test_it_names_fields_of_an_observation(self) -> None:
        assert self.make(self.placements()).needs <= installed_fields()

    def test_one_observation_gives_one_row(self) -> None:
        placements = self.placements()
        seconds = self.make(placements).seconds(Observation(**self.observation))
        assert seconds.shape == (len(placements),)
        assert np.isfinite(seconds).all()
        assert (seconds >= 0).all()

    def test_many_observations_give_the_same_rows_at_once(self) -> None:
        placements = self.placements()
        predictor = self.make(placements)
        scales = np.array([0.5, 1.0, 1.7])
        many: dict[str, Any] = {name: value * scales for name, value in self.observation.items()}
        rows = np.broadcast_to(predictor.seconds(Observation(**many)), (3, len(placements)))
        for index, scale in enumerate(scales):
            single = Observation(**{name: value * scale for name, value in self.observation.items()})
            np.testing.assert_allclose(rows[index], predictor.seconds(single), rtol=1e-12)

    def test_it_reads_only_what_it_says_it_needs(self) -> None:
        predictor = self.make(self.placements())
        only: dict[str, Any] = {name: value for name, value in self.observation.items() if name in predictor.needs}
        np.testing.assert_array_equal(
            predictor.seconds(Observation(**only)), predictor.seconds(Observation(**self.observation))
        )


class ObjectiveSuite:
    """The contract of `midcut.protocols.Objective`. Subclass it and implement `make`.

    `observation` has the fields it needs.
    """

    observation: ClassVar[dict[str, Any]] = {"clock_mhz": 1200.0, "bandwidth_kbps": 8000.0, "ping_ms": 30.0}

    def make(self, placements: Placements) -> Objective:
        """Make an objective for these placements."""
        raise NotImplementedError

    def values(self, parts: np.ndarray, **fields: Any) -> np.ndarray:
        """The column for a chain of four placements, whose parts have the shape (3, ..., 4)."""
        placements = chain_placements([600_000, 200_000, 50_000, 4_000])
        edge_s, link_s, cloud_s = parts
        forecast = Forecast(placements, edge_s, link_s, cloud_s, edge_s * 1e-6)
        return self.make(placements).values(forecast, Observation.of(self.observation | fields))

    def test_it_names_a_column_of_its_own_and_fields_of_an_observation(self) -> None:
        objective = self.make(chain_placements([1, 1]))
        assert objective.column.isidentifier()
        assert objective.column not in LATENCY_AND_COST
        assert objective.needs <= installed_fields()

    def test_every_placement_gets_a_number(self) -> None:
        values = self.values(np.random.default_rng(1).random((3, 4)))
        assert values.shape == (4,)
        assert np.isfinite(values).all()
        assert (values >= 0.0).all()

    def test_many_observations_give_the_same_rows_at_once(self) -> None:
        parts, scales = np.random.default_rng(2).random((3, 3, 4)), np.array([0.5, 1.0, 1.7])
        many = {name: value * scales for name, value in self.observation.items()}
        rows = np.broadcast_to(self.values(parts, **many), (3, 4))
        for index in range(3):
            single = {name: float(values[index]) for name, values in many.items()}
            np.testing.assert_allclose(rows[index], self.values(parts[:, index], **single), rtol=1e-12)

    def test_it_never_falls_when_a_part_grows(self) -> None:
        parts = np.random.default_rng(3).random((3, 4))
        before = self.values(parts)
        for part in range(3):
            grown = parts.copy()
            grown[part] += 0.3
            assert (self.values(grown) >= before).all()


class CostModelSuite:
    """The contract of `midcut.protocols.CostModel`. Subclass it and implement `make`."""

    def make(self) -> CostModel:
        raise NotImplementedError

    def test_nothing_busy_costs_nothing(self) -> None:
        assert float(self.make().cost_usd(0.0, 0.0, 0.0)) == 0.0

    def test_it_broadcasts(self) -> None:
        edge_s = np.linspace(0, 1, 5)
        cost = np.broadcast_to(self.make().cost_usd(edge_s[:, None], 0.1, edge_s), (5, 5))
        for row in range(5):
            for column in range(5):
                alone = self.make().cost_usd(edge_s[row], 0.1, edge_s[column])
                assert float(cost[row, column]) == pytest.approx(float(alone), rel=1e-12)

    def test_it_never_falls_when_a_part_grows(self) -> None:
        model, base = self.make(), (0.2, 0.1, 0.3)
        before = float(model.cost_usd(*base))
        assert before >= 0.0
        for part in range(3):
            grown = tuple(value + (0.05 if index == part else 0.0) for index, value in enumerate(base))
            assert float(model.cost_usd(*grown)) >= before
