"""Users of one cloud: the worked example, 500 random games, and the verb."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from midcut.errors import ConfigError
from midcut.simulation.users import Game, best_responses, random_turns, sequential, simultaneous

# Local 10; offloading 4 + 4 * (number that offload).
WORKED = Game(np.array([[10.0, 4.0]] * 2), np.array([[0.0, 1.0]] * 2), base_price=0.0, slope=4.0)


def test_the_worked_example():
    totals = {pair: WORKED.total(np.array(pair)) for pair in itertools.product(range(2), repeat=2)}
    assert totals == {(0, 0): 20.0, (0, 1): 18.0, (1, 0): 18.0, (1, 1): 24.0}
    assert [pair for pair in totals if WORKED.is_equilibrium(np.array(pair))] == [(0, 1), (1, 0)]
    course = best_responses(WORKED, np.zeros(2, dtype=int), sequential(2), 10)
    assert (course.choices.tolist(), course.settled) == ([1, 0], True)


def test_all_at_once_alternates_for_ever_and_random_turns_settle():
    start = np.zeros(2, dtype=int)
    seen = [best_responses(WORKED, start, simultaneous(2), rounds) for rounds in (1, 2, 3, 1000)]
    assert [course.choices.tolist() for course in seen] == [[1, 1], [0, 0], [1, 1], [0, 0]]
    assert not any(course.settled for course in seen)
    assert best_responses(WORKED, start, random_turns(2, 0.5, 0), 1000).settled


def random_game(rng, users=5, cuts=4):
    own = rng.uniform(0.1, 2.0, (users, cuts))
    load = np.sort(rng.uniform(0.0, 1.0, (users, cuts)), axis=1)[:, ::-1].copy()
    load[:, -1] = 0.0
    return Game(own, load, rng.uniform(0, 0.5), rng.uniform(0, 2.0), rng.uniform(0.2, 2.0))


def test_500_games_settle_and_are_near_the_optimum():
    rng = np.random.default_rng(0)
    ratios, cycled = [], 0
    for _ in range(500):
        game = random_game(rng)
        start = rng.integers(0, 4, 5)
        course = best_responses(game, start, sequential(5), 20)
        assert course.settled
        assert game.is_equilibrium(course.choices)
        ratios.append(game.total(course.choices) / game.total(game.optimum()))
        cycled += not best_responses(game, start, simultaneous(5), 50).settled
    assert min(ratios) >= 1.0 - 1e-12
    assert np.mean(ratios) <= 1.1
    assert cycled > 0


def test_the_potential_falls_by_what_a_user_gains_alone():
    rng = np.random.default_rng(1)
    for _ in range(200):
        game, choices = random_game(rng), rng.integers(0, 4, 5)
        user, other = int(rng.integers(5)), choices.copy()
        other[user] = rng.integers(0, 4)
        others_load = float(game.loads(choices).sum() - game.load[user, choices[user]])
        costs = game.costs(user, others_load)
        gain = costs[choices[user]] - costs[other[user]]
        assert game.potential(choices) - game.potential(other) == pytest.approx(gain, abs=1e-12)


def test_every_equilibrium_is_found_where_brute_force_finds_it():
    rng = np.random.default_rng(2)
    for _ in range(50):
        game = random_game(rng, users=3, cuts=3)
        for each in itertools.product(range(3), repeat=3):
            choices = np.array(each)
            alone = True
            for user in range(3):
                here = game.own[user, choices[user]] + game.price_weight * game.pay(choices)[user]
                for cut in range(3):
                    moved = choices.copy()
                    moved[user] = cut
                    alone &= here <= game.own[user, cut] + game.price_weight * game.pay(moved)[user] + 1e-12
            assert game.is_equilibrium(choices) == alone


def test_a_price_that_is_none_gets_one_line():
    with pytest.raises(ConfigError, match="users: slope must be a finite number, 0 or more, got -1"):
        Game(np.zeros((1, 1)), np.zeros((1, 1)), 0.0, -1.0)
