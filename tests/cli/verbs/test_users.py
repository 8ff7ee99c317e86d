"""`midcut simulate users=N` as users run it."""

from __future__ import annotations

import pytest

from midcut.results.users import read_users


def test_users_settle_and_the_price_moves_them_from_the_cloud(midcut, tmp_path):
    loads = {}
    for slope in (0, 100):
        game = ("users=4", f"game.slope_usd_per_hour={slope}", "game.rate_hz=2", "model=vgg16")
        status, out, err = midcut("simulate", *game, f"hydra.run.dir=run{slope}")
        assert status == 0, err
        result = read_users(tmp_path / f"run{slope}/users.json")
        assert result.settled
        assert "4 users, sequential turns: settled in" in out
        by_name = {each.name: each for each in result.outcomes}
        loads[slope] = by_name["equilibrium"].load
        assert by_name["equilibrium"].total <= by_name["price_ignored"].total + 1e-9
    assert loads[100] < loads[0]


def test_energy_is_weighed_too(midcut, tmp_path):
    status, _, err = midcut("simulate", "users=3", "objective=energy", "game.energy_weight=1", "hydra.run.dir=run")
    assert status == 0, err
    assert all(each.energy_j > 0.0 for each in read_users(tmp_path / "run/users.json").outcomes)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("users=-1", "users must be at least 0, got -1"),
        ("game.slope_usd_per_hour=-1", "game.slope_usd_per_hour must be"),
        ("game.base_usd_per_hour=dear", "game.base_usd_per_hour"),
        ("game.rate_hz=0", "game.rate_hz must be"),
        ("game.turns=never", "game.turns"),
    ],
)
def test_what_cannot_be_played_gets_one_line(midcut, override, message):
    status, _, err = midcut("simulate", "users=2", override)
    assert status == 1
    assert message in err
    assert "Traceback" not in err
