"""The user-space link's model, in virtual time."""

from __future__ import annotations

import random

import pytest
from bed.tunlink import Direction
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def link():
    delivered = []
    direction = Direction(delivered.append, random.Random(1))
    direction.delivered_packets = delivered
    return direction


def departures(direction, until_s):
    """When each packet left."""
    times = []
    while (due_s := direction.due_s) is not None and due_s <= until_s:
        direction.deliver_due(due_s)
        times.append(due_s)
    return times


def test_a_packet_takes_its_bytes_and_14_more_over_the_rate_and_then_the_delay(link):
    link.set({"rate_bps": 1e6, "delay_s": 0.025}, 0.0)
    for _ in range(3):
        link.push(bytes(1500), 0.0)
    # 1514 bytes are 12.112 ms at 1 Mbit/s.
    assert departures(link, 1.0) == pytest.approx([0.037112, 0.049224, 0.061336])


def test_an_idle_line_saves_nothing_up(link):
    link.set({"rate_bps": 1e6}, 0.0)
    link.push(bytes(1500), 0.0)
    link.push(bytes(1500), 10.0)
    link.push(bytes(1500), 10.0)
    assert departures(link, 20.0) == pytest.approx([0.012112, 10.012112, 10.024224])


def test_the_queue_holds_200_kb_and_what_is_on_its_way(link):
    link.set({"rate_bps": 8e6, "delay_s": 0.05}, 0.0)
    for _ in range(1000):
        link.push(bytes(985), 0.0)
    assert link.dropped == 1000 - 300  # 200 kB and 2 x 50 ms x 1 MB/s, in packets of 999 bytes on the wire


def test_a_new_rate_holds_for_what_is_queued(link):
    link.set({"rate_bps": 8e6}, 0.0)
    for _ in range(10):
        link.push(bytes(986), 0.0)  # 1 ms each
    departures(link, 0.005)
    link.set({"rate_bps": 8e5}, 0.005)
    assert departures(link, 1.0) == pytest.approx([0.015, 0.025, 0.035, 0.045, 0.055])
    link.push(bytes(986), 0.055)
    assert link.due_s == pytest.approx(0.065)


def test_the_seed_says_which_packets_are_lost():
    def lost(seed):
        delivered = []
        link = Direction(delivered.append, random.Random(seed))
        link.set({"loss": 0.1}, 0.0)
        for number in range(2000):
            link.push(number.to_bytes(2), 0.0)
        link.deliver_due(0.0)
        return [number for number in range(2000) if number.to_bytes(2) not in delivered]

    assert lost(3) == lost(3) != lost(4)
    assert 140 < len(lost(3)) < 260


changes = st.fixed_dictionaries(
    {"rate_bps": st.sampled_from([0.0, 1e5, 1e6, 5e7]), "delay_s": st.floats(0, 0.2), "after_s": st.floats(0, 0.05)}
)


@given(st.lists(changes, min_size=1, max_size=30))
def test_whatever_is_changed_packets_keep_their_order_and_none_is_made_up(steps):
    delivered = []
    link = Direction(delivered.append, random.Random(0))
    now_s = 0.0
    for number, step in enumerate(steps):
        now_s += step["after_s"]
        link.deliver_due(now_s)
        link.set(step, now_s)
        link.push(bytes([number]) * 100, now_s)
    link.deliver_due(1e9)
    assert [packet[0] for packet in delivered] == list(range(len(steps)))
