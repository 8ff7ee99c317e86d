from __future__ import annotations

import time
from contextlib import closing
from types import SimpleNamespace

import pytest
import torch
from structlog.testing import capture_logs

from midcut.cli.verbs import profile
from midcut.config.composition import compose
from midcut.errors import ConfigError, FileError
from midcut.graph.segments import Segments
from midcut.profiles import read_profile
from midcut.profiles.choosing import fused_executor
from midcut.testing import ExecutorSuite, TorchExecutor
from midcut_executors.emulated_clock import CpufreqTree, EmulatedClock, write_slowdown
from midcut_executors.hooks import midcut_executors
from midcut_telemetry.config import Aggregate
from midcut_telemetry.cpufreq import Cpufreq


def trace(folder, text):
    path = folder / "trace.csv"
    path.write_text(text)
    return str(path)


def emulated(folder, text="time_s,clock_mhz\n0,1500\n", max_clock_mhz=None, epoch_s=None, root=None):
    return EmulatedClock(
        trace=trace(folder, text),
        root=str(root or folder / "root"),
        max_clock_mhz=max_clock_mhz,
        epoch_s=epoch_s,
        speed=1.0,
        loop=False,
    )


@pytest.fixture
def make(tmp_path):
    executors = []

    def make_executor(*args, **settings):
        executors.append(emulated(tmp_path, *args, **settings))
        return executors[-1]

    yield make_executor
    for executor in executors:
        executor.close()


def seen_mhz(folder, **settings):
    return Cpufreq(
        **({"root": str(folder / "root"), "aggregate": Aggregate.max, "core": None, "interval_s": 1} | settings)
    )


def run(executor, nodes):
    """Run a segment whose nodes are a function."""

    class Network:
        def run(self, start, stop, values):  # noqa: ARG002
            return nodes()

    return executor.prepare(Network(), 0, 1).run(())


class TestEmulatedClockContract(ExecutorSuite):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def make(self):
        return emulated(self.folder, max_clock_mhz=3000)


class Time:
    """The executor's clock: it moves while a segment works and while the executor sleeps, and 1 µs at each look."""

    def __init__(self):
        self.now_s = 0.0

    def perf_counter(self):
        self.now_s += 1e-6
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds

    def segment(self):
        """Works for 20 ms."""
        self.now_s += 0.02
        return (1,)


@pytest.fixture
def clock(monkeypatch):
    fake = Time()
    monkeypatch.setattr("midcut_executors.emulated_clock.time", fake)
    return fake


@pytest.mark.parametrize(("clock_mhz", "stretch"), [(1500, 1.0), (750, 2.0), (600, 2.5)])
def test_a_run_takes_highest_over_current_clock_times_as_long(make, clock, clock_mhz, stretch):
    executor = make(f"time_s,clock_mhz\n0,{clock_mhz}\n", max_clock_mhz=1500)
    assert run(executor, clock.segment) == ((1,), pytest.approx(0.02 * stretch, abs=1e-5))
    assert clock.now_s == pytest.approx(0.02 * stretch, abs=1e-5)


def test_a_run_takes_as_long_on_the_real_clock(make):
    executor = make("time_s,clock_mhz\n0,600\n", max_clock_mhz=1500)
    start = time.perf_counter()
    seconds = run(executor, lambda: time.sleep(0.02))[1]
    assert 0.05 <= seconds <= time.perf_counter() - start


def test_the_highest_clock_of_the_trace_runs_unslowed(make, clock):
    executor = make("time_s,clock_mhz\n0,1500\n1000,600\n")
    assert run(executor, clock.segment)[1] == pytest.approx(0.02, abs=1e-5)


def test_cpufreq_telemetry_reads_the_emulated_clock_as_it_changes(make, tmp_path, monkeypatch):
    now_s = time.time()
    monkeypatch.setattr("midcut.traces.time", SimpleNamespace(time=lambda: now_s))
    make("time_s,clock_mhz\n0,1500\n100,600.5\n")
    source = seen_mhz(tmp_path)
    assert source.read() == {"clock_mhz": 1500.0}
    now_s += 100
    deadline = time.monotonic() + 60
    while source.read() != {"clock_mhz": 600.5}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert seen_mhz(tmp_path, core=0).read() == {"clock_mhz": 600.5}


def test_what_is_read_is_never_half_a_file(make, tmp_path):
    rows = "".join(f"{0.1 + step / 100},{600 + step}\n" for step in range(100))
    executor = make("time_s,clock_mhz\n" + rows)
    source, clocks = seen_mhz(tmp_path), set()
    while executor.clock_mhz < 699:
        clocks.add(source.read()["clock_mhz"])  # an empty file would be a TelemetryError
    assert clocks <= {600.0 + step for step in range(100)}


def test_after_closing_nobody_reads_an_old_clock(tmp_path):
    emulated(tmp_path).close()
    assert not list((tmp_path / "root").rglob("scaling_cur_freq"))


def test_it_says_that_it_is_emulated(make):
    with capture_logs() as logs:
        make()
    assert "EMULATED" in logs[0]["event"]
    emulated_clock = midcut_executors()[-1]
    assert emulated_clock.name == "emulated_clock"
    assert "EMULATED" in emulated_clock.summary


@pytest.mark.parametrize("root", ["/", "/usr/.."])
def test_the_real_sysfs_is_left_alone(tmp_path, root):
    with pytest.raises(ConfigError, match=r"executor\.root must be a folder of its own"):
        emulated(tmp_path, root=root)


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"executor\.root=.*file: cannot write there"):
        emulated(tmp_path, root=tmp_path / "file")


def test_a_clock_over_the_highest_cannot_be_emulated(tmp_path):
    with pytest.raises(ConfigError, match=r"executor\.max_clock_mhz=1000 is under the trace's highest clock, 1500"):
        emulated(tmp_path, max_clock_mhz=1000)


def test_a_trace_without_a_clock_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="an emulated clock needs the column clock_mhz"):
        emulated(tmp_path, "time_s,ping_ms\n0,1\n")
    with pytest.raises(FileError):
        emulated(tmp_path, "")


def with_external_clock(root, max_clock_mhz=1500.0):
    return EmulatedClock(None, str(root), max_clock_mhz, epoch_s=None, speed=1.0, loop=False)


def test_without_a_trace_it_follows_the_clock_that_another_program_sets(tmp_path, clock):
    tree = CpufreqTree(str(tmp_path), 1500)
    tree.write(1500)
    executor = with_external_clock(tmp_path)
    for mhz in (750, 500):
        tree.write(mhz)
        assert run(executor, clock.segment)[1] == pytest.approx(0.02 * 1500 / mhz, abs=1e-5)
        assert executor.clock_mhz == mhz
    executor.close()
    assert Cpufreq(root=str(tmp_path), aggregate=Aggregate.max, core=None, interval_s=1).read() == {"clock_mhz": 500.0}


def test_a_slowdown_stretches_runs_and_is_not_in_the_tree(tmp_path, clock):
    tree = CpufreqTree(str(tmp_path), 1500)
    tree.write(750)
    executor = with_external_clock(tmp_path)
    write_slowdown(tmp_path, 2.5)
    assert run(executor, clock.segment)[1] == pytest.approx(0.02 * 5, abs=1e-5)
    assert executor.clock_mhz == 750
    write_slowdown(tmp_path, 1.0)
    assert run(executor, clock.segment)[1] == pytest.approx(0.02 * 2, abs=1e-5)


def test_without_a_trace_full_speed_and_the_tree_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match=r"executor\.max_clock_mhz must be given where executor\.trace is null"):
        with_external_clock(tmp_path, None)
    with pytest.raises(
        ConfigError, match=r"scaling_cur_freq: No such file .*another program must write the clock there"
    ):
        with_external_clock(tmp_path)
    CpufreqTree(str(tmp_path), 2000).write(2000)
    with pytest.raises(ConfigError, match=r"2000 MHz is not from 0 to executor\.max_clock_mhz=1500"):
        with_external_clock(tmp_path)


def test_a_profile_is_measured_with_the_runtime_inside_at_full_speed(tmp_path, tiny):
    pytest.importorskip("onnxruntime")
    path = trace(tmp_path, "time_s,clock_mhz\n0,400\n")
    slow = EmulatedClock(path, str(tmp_path / "root"), 1000.0, None, 1.0, loop=True, runtime="onnxruntime")
    with closing(slow):
        assert fused_executor(slow, tiny) is slow.full_speed
        assert slow.full_speed.identity.startswith("onnxruntime")


class Merging(TorchExecutor):
    """A runtime that merges nodes, and takes one image at a time."""

    identity, fused, exact, conditions = "merging", True, True, "threads 1"

    def __init__(self):
        self.dropped = []

    def prepare(self, network, start, stop):
        segment = super().prepare(network, start, stop)

        def run_one(values):
            if len(values[0]) > 1:
                raise ValueError("one image at a time")
            return segment.run(values)

        return SimpleNamespace(run=run_one)

    def drop(self, network):
        self.dropped.append(network)


@pytest.fixture
def merging(tmp_path, monkeypatch):
    """Such a runtime inside an emulated clock."""
    monkeypatch.setattr("midcut_executors.emulated_clock.by_name", lambda _: Merging())
    with closing(emulated(tmp_path)) as executor:
        yield executor


def test_a_run_that_the_runtime_inside_refuses_is_repeated_in_pytorch(merging, tiny):
    two, last = (torch.rand(2, 3, 16, 16),), tiny.table.last
    with closing(Segments(merging)) as segments, capture_logs() as logs:
        values, _ = segments.run(tiny, 0, last, two)
    assert torch.equal(values[0], tiny.run(0, last, two)[0])
    assert [(entry["event"], entry["reason"]) for entry in logs] == [
        ("a run is repeated in PyTorch", "one image at a time")
    ]


def test_an_unloaded_model_is_forgotten_by_the_runtime_inside(merging, tiny):
    with closing(Segments(merging)) as segments:
        segments.drop(tiny)
    assert merging.full_speed.dropped == [tiny]


def test_what_a_runtime_says_of_itself_holds_inside_an_emulated_clock(merging):
    assert (merging.fused, merging.exact, merging.conditions) == (True, True, "threads 1")


def test_pytorch_inside_an_emulated_clock_says_what_it_says_outside(make, tiny):
    executor = make()
    assert (executor.fused, executor.exact, executor.conditions) == (False, False, executor.full_speed.conditions)
    executor.drop(tiny)


def test_a_cloud_measures_the_runtime_inside_at_full_speed(merging):
    with closing(Segments(merging)) as segments:
        assert segments.fused is merging.full_speed


def test_the_verb_profile_measures_the_runtime_inside_too(tmp_path, monkeypatch):
    inside = TorchExecutor()
    inside.identity, inside.fused = "inside", True
    stretched = SimpleNamespace(full_speed=inside, identity="EMULATED clock, inside", close=inside.close)
    monkeypatch.setattr(profile, "build", lambda *_: stretched)
    out = tmp_path / "profile.json"
    profile.run(compose("profile", ["model=mnist", "cuts.verify=false", "repeats=1", "warmup=0", f"out={out}"]))
    assert read_profile(out).executor == "inside"
