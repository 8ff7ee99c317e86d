"""Seconds of a model in several executors: measured once, read from the cache at later starts."""

from __future__ import annotations

import os
import time

import msgspec
import pytest
import structlog
import torch

from midcut.profiles import converting, forget_speeds, speeds, speeds_of
from midcut.profiles.converting import time_ratio
from midcut.testing import TorchExecutor
from midcut.testing.networks import small_network

NETWORK = small_network()
INPUTS = [torch.rand(1, 3, 12, 12)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIDCUT_CACHE", str(tmp_path))
    return tmp_path / "speeds"


class Fixed(TorchExecutor):
    def __init__(self, identity, seconds):
        self.identity, self.seconds, self.runs = identity, seconds, 0

    def run(self, segment):
        self.runs += 1
        return segment(), self.seconds


class Broken(TorchExecutor):
    identity = "broken 1"
    tried = 0

    def prepare(self, *_):
        self.tried += 1
        raise RuntimeError("no such\noperator")


def test_a_later_start_measures_nothing_and_says_which_file_it_read(cache):
    slow, fast = Fixed("slow 1", 0.5), Fixed("fast 1", 0.25)
    assert speeds_of(NETWORK, INPUTS, [slow, fast]).seconds == {"slow 1": 0.5, "fast 1": 0.25}
    assert slow.runs > 1
    slow.runs = fast.runs = 0
    again = speeds_of(NETWORK, INPUTS, [fast, slow])
    assert again.seconds == {"slow 1": 0.5, "fast 1": 0.25}
    assert [again.file] == list(cache.iterdir())
    assert slow.runs == fast.runs == 0


@pytest.mark.parametrize("name", ["../up", "org/net", "a" * 300, "x\0y"])
def test_seconds_of_a_model_of_any_name_are_kept_in_the_cache(cache, name):
    network = small_network()
    network.table = msgspec.structs.replace(network.table, model=name)
    fast = Fixed("fast 1", 0.25)
    speeds_of(network, INPUTS, [fast])
    fast.runs = 0
    assert [speeds_of(network, INPUTS, [fast]).file] == list(cache.iterdir())
    assert not fast.runs


def test_some_of_the_executors_that_were_compared_need_no_other_measurement():
    speeds_of(NETWORK, INPUTS, [Fixed("a 1", 1.0), Fixed("b 1", 2.0), Fixed("c 1", 3.0)])
    third = Fixed("c 1", 99.0)
    assert speeds_of(NETWORK, INPUTS, [Fixed("a 1", 99.0), third]).seconds == {"a 1": 1.0, "c 1": 3.0}
    assert not third.runs


@pytest.mark.parametrize("other", ["version", "threads", "weights", "clock limits", "tolerance", "forgotten"])
def test_under_other_conditions_it_is_measured_again(monkeypatch, other):
    first, network = Fixed("a 1", 1.0), NETWORK
    first.conditions = "threads 1"
    speeds_of(network, INPUTS, [first])
    second = Fixed("a 1", 2.0)
    second.conditions = first.conditions
    if other == "version":
        second.identity = "a 2"
    elif other == "threads":
        second.conditions = "threads 2"
    elif other == "weights":
        network = small_network()
        network.table = network.table.__class__(**{**_fields(network.table), "weights": "others"})
    elif other == "clock limits":
        monkeypatch.setattr(speeds, "_clock_limits", lambda: ("600000",))
    elif other == "tolerance":
        second.tolerance = 0.5
    else:
        forget_speeds(network)
    assert speeds_of(network, INPUTS, [second]).seconds == {second.identity: 2.0}


def _fields(table):
    return {name: getattr(table, name) for name in table.__struct_fields__}


def test_an_executor_that_cannot_run_the_model_is_not_tried_at_each_start(cache):
    broken = Broken()
    for _ in range(2):
        found = speeds_of(NETWORK, INPUTS, [Fixed("a 1", 1.0), broken])
        assert found.seconds == {"a 1": 1.0}
        assert found.refused == {"broken 1": "RuntimeError: no such operator"}
    assert broken.tried == 1
    (file,) = cache.iterdir()
    os.utime(file, (time.time() - 3600,) * 2)
    speeds_of(NETWORK, INPUTS, [Fixed("a 1", 1.0), broken])
    assert broken.tried == 2  # the disk may have been full then


@pytest.mark.parametrize("content", [b"", b"{", b'{"measured": 3, "format": "midcut-speeds/1"}', b"\xff\x00"])
def test_a_damaged_file_is_one_line_and_made_anew(cache, content):
    speeds_of(NETWORK, INPUTS, [Fixed("a 1", 1.0)])
    (file,) = cache.iterdir()
    file.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        assert speeds_of(NETWORK, INPUTS, [Fixed("a 1", 2.0)]).seconds == {"a 1": 2.0}
    (line,) = logs
    assert line["event"] == "cached seconds not used"
    assert "\n" not in line["reason"]
    assert speeds_of(NETWORK, INPUTS, [Fixed("a 1", 3.0)]).seconds == {"a 1": 2.0}


def test_a_cache_that_cannot_be_written_costs_only_time(cache):
    cache.write_text("a file where the folder should be")
    with structlog.testing.capture_logs() as logs:
        assert speeds_of(NETWORK, INPUTS, [Fixed("a 1", 1.0)]).seconds == {"a 1": 1.0}
    assert [entry["event"] for entry in logs] == ["the next start measures the executors anew"]


def test_a_clock_that_cannot_be_read_is_left_out(monkeypatch, tmp_path):
    for name, limit in (("policy0", "1500000"), ("policy4", None)):
        (tmp_path / name).mkdir()
        if limit is None:
            (tmp_path / name / "scaling_max_freq").mkdir()  # to read it fails, as where all cores are off
        else:
            (tmp_path / name / "scaling_max_freq").write_text(limit)
    monkeypatch.setattr(speeds, "_CPUFREQ", tmp_path)
    assert speeds._clock_limits() == ("1500000",)


def test_what_was_refused_once_is_tried_again_where_it_runs_now():
    executor = Fixed("late 1", 1.0)
    in_torch = converting._InTorch()
    refused = Broken()
    refused.identity = executor.identity
    assert executor.identity in speeds_of(NETWORK, INPUTS, [in_torch, refused]).refused
    assert time_ratio(NETWORK, INPUTS, executor) > 0.0


def test_a_small_model_runs_long_enough_that_a_busy_moment_does_not_count(monkeypatch):
    monkeypatch.setattr(speeds, "_SHORTEST_S", 60.0)  # of a machine that is not busy itself
    monkeypatch.setattr(speeds, "_LONGEST_S", 60.0)

    class BusyAtFirst(Fixed):
        def run(self, segment):
            output, seconds = super().run(segment)
            return output, 20 * seconds if self.runs <= 9 else seconds

    assert speeds_of(NETWORK, INPUTS, [BusyAtFirst("a 1", 0.25)]).seconds == {"a 1": 0.25}
