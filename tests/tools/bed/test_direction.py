"""The user-space link's model, in virtual time."""

from __future__ import annotations

import random

import pytest
from bed.tunlink import Direction, Opportunities, read_times_ms
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
    while (due_at_s := direction.due_at_s) is not None and due_at_s <= until_s:
        direction.deliver_due(due_at_s)
        times.append(due_at_s)
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
    assert link.due_at_s == pytest.approx(0.065)


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


def played(lines, tmp_path, start_s=0.0):
    delivered = []
    direction = Direction(delivered.append, random.Random(0))
    direction.delivered_packets = delivered
    (tmp_path / "link.up").write_text("".join(f"{line}\n" for line in lines))
    direction.set({"opportunities": str(tmp_path / "link.up")}, start_s)
    return direction


def test_a_packet_leaves_at_an_opportunity_of_the_trace(tmp_path):
    link = played([2, 2, 7, 10], tmp_path, start_s=100.0)
    for _ in range(3):
        link.push(bytes(1500), 100.0)
    assert departures(link, 101.0) == pytest.approx([100.002, 100.007])
    assert len(link.delivered_packets) == 3
    link.push(bytes(1500), 100.0081)
    link.push(bytes(1500), 100.0081)  # the trace starts again after 10 ms
    assert departures(link, 101.0) == pytest.approx([100.010, 100.012])
    link.push(bytes(100), 100.0125)  # the second of 12 ms is over, and lost
    link.push(bytes(1400), 100.0125)  # both fit into one opportunity
    link.push(bytes(1), 100.0125)
    assert departures(link, 101.0) == pytest.approx([100.017, 100.020])


def test_the_delay_comes_after_the_trace_and_a_rate_takes_over_when_it_ends(tmp_path):
    link = played([5], tmp_path)
    link.set({"delay_s": 0.1}, 0.0)
    link.push(bytes(1500), 0.001)
    assert departures(link, 1.0) == pytest.approx([0.105])
    link.set({"opportunities": None, "rate_bps": 1e6}, 1.0)
    link.push(bytes(1486), 1.0)
    assert departures(link, 2.0) == pytest.approx([1.112])


def test_the_queue_before_a_trace_holds_200_kb(tmp_path):
    link = played([1000], tmp_path)
    for _ in range(300):
        link.push(bytes(1486), 0.0)
    assert link.dropped == 300 - 133
    departures(link, 0.5 + 100)
    link.push(bytes(1486), 100.5)
    assert link.dropped == 300 - 133


def step_by_step(lines, packets, until_ms):
    """mahimahi's queue, a millisecond at a time: arrival in ms and bytes -> departure in ms."""
    waiting, left, gone = list(packets), [], []
    for now in range(until_ms):
        while waiting and waiting[0][0] <= now:
            left.append(waiting.pop(0)[1])
        for _ in range(sum((now - line) % lines[-1] == 0 and now >= line for line in lines)):
            room = 1500
            while left and room:
                used = min(room, left[0])
                room, left[0] = room - used, left[0] - used
                if not left[0]:
                    left.pop(0)
                    gone.append(now)
    return gone


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=8).map(sorted).filter(lambda lines: lines[-1] > 0),
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 2000)), min_size=1, max_size=12),
)
def test_packets_leave_when_mahimahis_would(lines, packets):
    arrivals, at_ms = [], 0
    for pause_ms, size in packets:
        at_ms += pause_ms
        arrivals.append((at_ms, size))
    opportunities = Opportunities(lines, 0.0)
    gone = [round(opportunities.departure_s(size, at_ms / 1e3) * 1e3) for at_ms, size in arrivals]
    assert gone == step_by_step(lines, arrivals, 600)


def test_a_file_that_is_no_trace_is_refused(tmp_path):
    for text in ("", "0\n", "3\n2\n", "-1\n4\n", "two\n"):
        (tmp_path / "wrong.up").write_text(text)
        with pytest.raises(ValueError):  # noqa: PT011 - the link's process answers with it
            read_times_ms(tmp_path / "wrong.up")


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
