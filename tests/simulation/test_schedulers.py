"""Three tiers and schedulers: the worked examples, and every method against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from midcut.errors import ConfigError
from midcut.simulation.schedulers import (
    PsoGa,
    best_two_cuts,
    cheapest_in_time,
    dynamic_programme,
    exhaustive,
    greedy,
    two_cuts_of,
)
from midcut.simulation.tiers import Application, Tiers, run_together

# Two layers: device 100, 100 ms, free; edge 40, 40 ms at 2 $/s; cloud 10, 10 ms at 1 $/s; 100, 10 kB; 8 and 4 Mbit/s.
TIERS = Tiers((0.0, 7200.0, 3600.0), (8000.0, 4000.0))


def worked(deadline_s=np.inf, name="a"):
    return Application(name, np.array([[0.1, 0.1], [0.04, 0.04], [0.01, 0.01]]), np.array([1e5, 1e4, 0.0]), deadline_s)


ROWS = {
    (0, 0): (0.320, 0.02), (0, 1): (0.170, 0.09), (0, 2): (0.180, 0.16), (1, 1): (0.140, 0.01), (1, 2): (0.150, 0.08),
    (2, 2): (0.200, 0.0),
}  # fmt: skip


def test_every_row_of_the_worked_example():
    application = worked()
    assert list(application.cut_pairs()) == list(ROWS)
    for row, (seconds, units) in ROWS.items():
        outcome = run_together([application], [application.placement(*row)], TIERS)
        assert outcome.end_s[0] == pytest.approx(seconds, abs=1e-12)
        assert outcome.usd == pytest.approx(units, abs=1e-12)


@pytest.mark.parametrize(
    ("deadline_s", "row", "feasible"),
    [(0.160, (1, 1), True), (0.145, (1, 1), True), (0.200, (2, 2), True), (0.130, (1, 1), False)],
)
def test_the_best_two_cuts_within_a_deadline(deadline_s, row, feasible):
    found, outcome = best_two_cuts(worked(deadline_s), TIERS)
    assert (found, outcome.feasible) == (row, feasible)


def test_two_applications_in_the_queue_of_one_cloud():
    for deadline_s, feasible in ((0.148, False), (0.152, True)):
        two = [worked(deadline_s, name) for name in "ab"]
        assert all(best_two_cuts(each, TIERS)[1].feasible for each in two)
        found = exhaustive(two, TIERS)
        assert found.outcome.feasible is feasible
        if feasible:
            assert [two_cuts_of(placement) for placement in found.placements] == [(1, 1), (1, 1)]
            assert found.outcome.usd == pytest.approx(0.02, abs=1e-12)
            assert found.outcome.end_s == pytest.approx((0.140, 0.150), abs=1e-12)
            assert greedy(two, TIERS).outcome.rank == pytest.approx(found.outcome.rank)


def random_application(rng, layers, name="x"):
    device = rng.uniform(0.02, 0.2, layers)
    layer_s = np.array([device, device / rng.uniform(2, 5), device / rng.uniform(8, 20)])
    sent = rng.uniform(1e3, 2e5, layers + 1)
    return Application(name, layer_s, sent, float(device.sum() * rng.uniform(0.3, 1.1)))


def random_tiers(rng):
    return Tiers(
        (0.0, *rng.uniform(500, 5000, 2)),
        tuple(rng.uniform(2000, 20000, 2)),
        tuple(rng.uniform(0, 20, 2)),
        tuple(rng.uniform(0, 50, 2)),
    )


def test_the_dynamic_programme_is_what_brute_force_over_all_placements_finds():
    rng = np.random.default_rng(0)
    for _ in range(60):
        application, tiers = random_application(rng, 6), random_tiers(rng)
        best = min(run_together([application], [each], tiers).rank for each in itertools.product(range(3), repeat=6))
        found = run_together([application], [cheapest_in_time(application, tiers)], tiers)
        assert found.rank == pytest.approx(best, rel=1e-9, abs=1e-15)


def test_the_swarms_fitness_is_the_queues_for_one_application():
    from midcut.simulation.schedulers import _fitness

    rng = np.random.default_rng(1)
    application, tiers = random_application(rng, 8), random_tiers(rng)
    swarm = rng.integers(0, 3, (50, 8))
    for row, rank in zip(swarm, _fitness([application], tiers)(swarm), strict=True):
        assert rank == pytest.approx(run_together([application], [row.tolist()], tiers).rank, rel=1e-9)


def test_pso_ga_never_beats_the_optimum_and_finds_it_where_the_network_is_small():
    rng = np.random.default_rng(2)
    hits = 0
    for seed in range(10):
        application, tiers = random_application(rng, 5), random_tiers(rng)
        optimum = dynamic_programme([application], tiers).outcome.rank
        found = PsoGa(particles=40, iterations=100, seed=seed)([application], tiers).outcome.rank
        assert found >= (optimum[0] - 1e-12, optimum[1] - 1e-15)
        hits += found == pytest.approx(optimum, rel=1e-9, abs=1e-15)
    assert hits >= 7


def test_together_is_never_earlier_than_alone_and_money_does_not_depend_on_the_queue():
    rng = np.random.default_rng(3)
    for _ in range(100):
        tiers = random_tiers(rng)
        several = [random_application(rng, 4, name) for name in "abc"]
        placements = [rng.integers(0, 3, 4).tolist() for _ in several]
        together = run_together(several, placements, tiers)
        alone = [run_together([each], [placement], tiers) for each, placement in zip(several, placements, strict=True)]
        assert all(both >= one.end_s[0] - 1e-12 for both, one in zip(together.end_s, alone, strict=True))
        assert together.usd == pytest.approx(sum(one.usd for one in alone))


def test_bounds_get_one_line():
    with pytest.raises(ConfigError, match="cuts must be 0 <= k1 <= k2 <= 2, got 2, 1"):
        worked().placement(2, 1)
    with pytest.raises(ConfigError, match="application 'a': deadline_s must be over 0, got -1"):
        worked(-1.0)
    with pytest.raises(ConfigError, match="usd_per_hour must be finite numbers, 0 or more, got -1"):
        Tiers((0.0, -1.0, 0.0), (1.0, 1.0))
    with pytest.raises(ConfigError, match="bandwidth_kbps must be finite numbers over 0, got 0"):
        Tiers((0.0, 1.0, 0.0), (1.0, 0.0))
    with pytest.raises(ConfigError, match="combinations are more than 1,000,000"):
        exhaustive([random_application(np.random.default_rng(0), 20, name) for name in "abc"], TIERS)
