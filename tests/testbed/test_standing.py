from __future__ import annotations

import pytest
from bed import Bed, BedError, BedOptions, BedUnavailable, state

pytestmark = pytest.mark.root


@pytest.fixture
def up(monkeypatch):
    """A standing bed under another name, so that a user's stays."""
    monkeypatch.setattr(state, "STANDING", "test")
    try:
        yield Bed.up(BedOptions(link="tun", trim=False, edge_core=0))
    except BedUnavailable as why:
        pytest.skip(str(why))
    finally:
        Bed.down()


def test_what_one_command_sets_the_next_one_finds(up):
    first = Bed.standing()
    first.link.set(bandwidth_kbps=5000, ping_ms=30)
    first.clock.set(600)
    first.remember()
    second = Bed.standing()
    assert (second.link.shape.bandwidth_kbps, second.link.shape.ping_ms, second.clock.mhz) == (5000, 30, 600)
    second.link.set(ping_ms=40)
    assert second.link.shape.bandwidth_kbps == 5000
    assert second.link.process == up.link.process


def test_it_stands_alone_until_it_is_taken_down(up):
    with pytest.raises(BedError, match="stands already; `tools/testbed down` removes it"):
        Bed.up(BedOptions(trim=False, edge_core=0))
    assert up.tag in Bed.down()
    with pytest.raises(BedError, match="no test bed stands; begin with `tools/testbed up`"):
        Bed.standing()
