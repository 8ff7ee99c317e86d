from __future__ import annotations

import pytest
from evaluation.best_cut import MOST_NEAR, candidates
from evaluation.policies import rows_by_cut, true_observation
from evaluation.site import Conditions

from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.planning.assembly import build_codecs, build_policy
from midcut.planning.cuts import legal_cuts
from midcut.planning.placements import placements
from midcut.profiles import find_profile

CONDITIONS = Conditions(clock_mhz=1500, bandwidth_kbps=50_000, ping_ms=5)


@pytest.fixture(scope="module")
def policy():
    """AlexNet's on the profiles of a Raspberry Pi 4 and a cloud."""
    config = compose("plan", ["model=alexnet"])
    table = find_profile("pi4", "edge", "alexnet").table
    return build_policy(config, placements(table, legal_cuts(table, CutSettings()), build_codecs(config)))


def fastest(policy, slowdown):
    latency_s = {
        cut: row["latency_s"]
        for cut, row in rows_by_cut(policy.forecast(true_observation(CONDITIONS, slowdown))).items()
    }
    return min(latency_s, key=latency_s.__getitem__)


@pytest.mark.parametrize("slowdown", [1.0, 2.5, 20.0])
def test_both_ends_and_the_cut_that_is_fastest_as_it_truly_is(policy, slowdown):
    cuts = candidates(policy, CONDITIONS, slowdown)
    assert {int(policy.placements.cut.min()), int(policy.placements.cut.max())} <= set(cuts)
    assert fastest(policy, slowdown) in cuts
    assert len(cuts) <= MOST_NEAR + 2


def test_a_slower_edge_has_other_candidates(policy):
    assert fastest(policy, 1.0) != fastest(policy, 20.0)
    assert candidates(policy, CONDITIONS, 1.0) != candidates(policy, CONDITIONS, 20.0)
