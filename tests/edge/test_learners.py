"""A component that asks for it is told every answered request."""

from __future__ import annotations

import numpy as np
from structlog.testing import capture_logs

from midcut.planning.policy import Policy
from midcut.testing import chain_placements
from midcut.types import InferenceResult, Observation, Placement


class Seconds:
    needs: frozenset[str] = frozenset()

    def seconds(self, _):
        return np.array([0.1, 0.2])


class Free:
    def cost_usd(self, edge_s, link_s, cloud_s):
        return 0.0 * (edge_s + link_s + cloud_s)


class First:
    w = None

    def __init__(self):
        self.heard = []

    def choose(self, _forecast, _w):
        return 0

    def answered(self, placement, observation, result):
        self.heard.append((placement, observation, result))


RESULT = InferenceResult("", None, 1, "cloud", "", 0.1, 0.2, 0.3, 0.6, 0.0, 9, {})


def test_the_planner_and_the_predictors_that_learn_are_told_and_the_others_are_not():
    class LearningSeconds(Seconds, First):
        pass

    link, planner = LearningSeconds(), First()
    policy = Policy(chain_placements([1, 1]), Seconds(), link, Seconds(), Free(), planner)
    seen = Observation(clock_mhz=1.0)
    policy.answered(Placement(1), seen, RESULT)
    assert planner.heard == link.heard == [(Placement(1), seen, RESULT)]


def test_a_learner_that_fails_is_logged_once_and_costs_nothing():
    class Broken(First):
        def answered(self, *_):
            raise ZeroDivisionError

    policy = Policy(chain_placements([1, 1]), Seconds(), Seconds(), Seconds(), Free(), Broken())
    with capture_logs() as logs:
        policy.answered(Placement(1), Observation(), RESULT)
        policy.answered(Placement(1), Observation(), RESULT)
    assert [line["learner"] for line in logs] == ["Broken"]
