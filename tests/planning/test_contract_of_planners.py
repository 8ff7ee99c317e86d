"""A planner that returns something else than a row index is named, with the contract."""

from __future__ import annotations

import numpy as np
import pytest

from midcut.config.composition import compose
from midcut.errors import PluginError
from midcut.planning.assembly import build_codecs, build_policy
from midcut.planning.placements import placements
from midcut.profiles import find_profile
from midcut.types import Observation


@pytest.fixture
def policy():
    cfg = compose("plan", ["model=mnist"])
    table = find_profile("pi4", "edge", "mnist").table
    return build_policy(cfg, placements(table, range(table.last + 1), build_codecs(cfg)))


@pytest.mark.parametrize("returned", [3.7, 99, -1, None, "cut 3", True, np.array([1, 2]), np.float64(2.0)])
def test_what_is_no_row_is_refused(policy, returned, monkeypatch):
    monkeypatch.setattr(type(policy.planner), "choose", lambda *_: returned)
    with pytest.raises(PluginError) as caught:
        policy.decide(Observation(clock_mhz=1000, bandwidth_kbps=5000, ping_ms=10))
    line = str(caught.value)
    assert line.startswith("planner 'algorithm1' of plugin 'planners' of midcut ")
    assert "returned " in line
    assert line.endswith("(midcut.protocols.Planner): an integer row index of the forecast, here from 0 to 13")


@pytest.mark.parametrize("returned", [3, np.int32(3), np.array(3)])
def test_what_is_a_row_is_taken(policy, returned, monkeypatch):
    monkeypatch.setattr(type(policy.planner), "choose", lambda *_: returned)
    assert policy.decide(Observation(clock_mhz=1000, bandwidth_kbps=5000, ping_ms=10)).index == 3
