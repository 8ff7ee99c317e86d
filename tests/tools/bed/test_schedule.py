from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from bed import BedOptions, cli, state
from bed.choosing import new_clock
from bed.cpufreq import CpufreqClock
from bed.errors import BedError, BedUnavailable
from bed.links import Shape
from bed.schedule import play, schedule
from bed.shaped import NetemLink

from midcut.traces import Trace, read_trace


def test_a_walk_is_the_same_for_the_same_seed_and_stays_within_bounds():
    first, again, other = (schedule("walk", seed=seed, duration_s=3000) for seed in (1, 1, 2))
    assert first.rows() == again.rows() != other.rows()
    assert list(first.time_s[:3]) == [0.0, 5.0, 10.0]
    assert len(first.time_s) == 600
    for name, (low, high) in {"bandwidth_kbps": (2e3, 5e4), "ping_ms": (5, 100), "clock_mhz": (600, 1500)}.items():
        assert low <= first.fields[name].min() < first.fields[name].max() <= high
        assert np.ptp(first.fields[name]) > 0.5 * (high - low)


def test_a_step_goes_from_10_to_1_mbit_and_to_40_percent_of_the_clock():
    first, second = schedule("step", duration_s=60, max_clock_mhz=2000).rows()
    assert first == {"time_s": 0, "clock_mhz": 2000, "bandwidth_kbps": 10_000, "ping_ms": 20}
    assert second == {"time_s": 30, "clock_mhz": 800, "bandwidth_kbps": 1_000, "ping_ms": 20}


def test_figure6_draws_poisson_megabits_and_clocks_from_600_to_1500():
    trace = schedule("figure6", seed=3, duration_s=20, step_s=1)
    assert len(trace.time_s) == 20
    assert np.all(trace.fields["bandwidth_kbps"] % 1000 == 0)
    assert 600 <= trace.fields["clock_mhz"].min() < trace.fields["clock_mhz"].max() <= 1500


def test_a_printed_schedule_is_a_trace_that_can_be_played(tmp_path):
    file = tmp_path / "walk.csv"
    assert cli.main(["run", "--trace", "walk", "--seed", "4", "--duration", "50", "--print", str(file)]) == 0
    assert read_trace(file).rows() == schedule("walk", seed=4, duration_s=50).rows()
    assert schedule(str(file)).rows() == read_trace(file).rows()


def test_times_that_make_no_schedule_are_refused():
    with pytest.raises(BedError, match="0 < step <= duration"):
        schedule("walk", duration_s=2, step_s=5)


class Recorder:
    """Stands where a bed would: what it is set to can be looked at."""

    kind = "tun"

    def __init__(self):
        self.link = self.clock = self
        self.settings = []

    def set(self, *clock, **link):
        self.settings.append(clock or link)


def test_playing_sets_the_columns_there_are_in_order():
    bed = Recorder()
    trace = Trace.from_rows([{"time_s": 0, "bandwidth_kbps": 1000}, {"time_s": 1, "bandwidth_kbps": 2000}])
    assert play(bed, trace, threading.Event(), speed=50) == 2
    assert bed.settings == [{"bandwidth_kbps": 1000.0}, {"bandwidth_kbps": 2000.0}]


def test_netem_gets_rate_half_the_round_trip_and_a_queue_beyond_what_is_on_its_way():
    link = NetemLink("a", "b", exists=True)
    # 200 kB and 10 Mbit/s x 50 ms = 62.5 kB, in packets of 1514 bytes: 174.
    words = "netem limit 174 delay 25000us loss 1.000000% rate 10000000bit"
    assert link.qdisc(Shape(10_000, 50, 0.01)) == words.split()
    assert link.qdisc(Shape()) == ["netem", "limit", "100000", "delay", "0us"]


@pytest.mark.parametrize("given", [{"bandwidth_kbps": 0}, {"ping_ms": -1}, {"loss": 1.0}, {"loss": float("nan")}])
def test_a_shape_no_link_has_is_refused(given):
    with pytest.raises(BedError, match=next(iter(given))):
        Shape(**given)


POLICY = "sys/devices/system/cpu/cpufreq/policy0"


def cpufreq_tree(root, core):
    before = {"cpuinfo_min_freq": 600_000, "cpuinfo_max_freq": 1_500_000}
    before |= {"scaling_min_freq": 700_000, "scaling_max_freq": 1_400_000}
    (root / POLICY).mkdir(parents=True)
    for name, value in before.items():
        (root / POLICY / name).write_text(f"{value}\n")
    (root / POLICY / "affected_cpus").write_text(f"{core} {core + 1}\n")
    return before


def values(root):
    return {file.name: int(file.read_text()) for file in (root / POLICY).glob("*_freq")}


def test_cpufreq_sets_both_bounds_of_the_cores_policy_and_puts_them_back(tmp_path):
    before = cpufreq_tree(tmp_path, 2)
    clock = CpufreqClock(2, tmp_path)
    assert clock.max_mhz == 1500
    clock.set(900)
    assert values(tmp_path) == before | {"scaling_min_freq": 900_000, "scaling_max_freq": 900_000}
    with pytest.raises(BedError, match="cannot be slowed down unseen"):
        clock.throttle(2)
    clock.close()
    assert values(tmp_path) == before
    with pytest.raises(BedUnavailable, match="core 7 has no cpufreq policy"):
        CpufreqClock(7, tmp_path)


def test_a_killed_beds_cpufreq_is_put_back_by_whoever_removes_it(tmp_path, monkeypatch):
    core = min(os.sched_getaffinity(0))
    before = cpufreq_tree(tmp_path, core)
    monkeypatch.setattr(state, "RUN", tmp_path / "run")
    state.write_state("test", None, {})
    options = BedOptions(clock="cpufreq", edge_core=core)
    new_clock(options, "test", tmp_path / "root", machine=tmp_path).set(900)
    new_clock(options, "test", tmp_path / "root", machine=tmp_path, exists=True)  # attached, not made
    assert values(tmp_path) == before | {"scaling_min_freq": 900_000, "scaling_max_freq": 900_000}
    state.remove_bed("test")
    assert values(tmp_path) == before
