"""`midcut profile` as users run it, with a fake cpufreq tree and the digit network that comes with midcut."""

from __future__ import annotations

import signal
import time

import torch

from midcut.profiles import find_profile, read_profile
from midcut.profiles.measuring import measure


def test_measured_at_every_clock_and_used_by_plan(midcut, cpufreq, tmp_path):
    root = cpufreq.parents[1]
    status, out, err = midcut("profile", "model=mnist", "repeats=3", "warmup=1", f"cpufreq_root={root}", "out=here")
    assert status == 0, err
    profile = find_profile(tmp_path / "here", "edge", "mnist")
    assert [run.clock_mhz for run in profile.runs] == [600.0, 900.0, 1200.0, 1500.0]
    assert all(run.repeats == 3 and len(run.node_s) == 13 and min(run.node_s) > 0 for run in profile.runs)
    assert not profile.modelled
    assert profile.table.weights
    assert profile.versions["torch"] == torch.__version__
    assert (profile.threads, profile.batch) == (1, 1)
    assert ((cpufreq / "scaling_min_freq").read_text(), (cpufreq / "scaling_max_freq").read_text()) == (
        "600000",
        "1500000",
    ), "the clock limits are put back"
    assert "Conv2d" in out
    assert "1500 MHz: whole model" in out
    assert "here/mnist-edge.json" in out
    status, out, err = midcut("plan", "model=mnist", "predictor.edge.profile=here")
    assert status == 0, err


def test_ctrl_c_puts_the_clock_back_and_writes_nothing(start, cpufreq, tmp_path):
    root = cpufreq.parents[1]
    process = start("profile", "model=mnist", "repeats=1000000", f"cpufreq_root={root}", "out=here")
    deadline = time.monotonic() + 240
    while (cpufreq / "scaling_max_freq").read_text() != "600000":
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=240)
    assert process.returncode != 0
    assert (cpufreq / "scaling_max_freq").read_text() == "1500000"
    assert not (tmp_path / "here").exists()


def test_the_clock_can_be_stated(midcut, tmp_path):
    arguments = ("role=cloud", "repeats=2", "warmup=0", "stated_clock_mhz=2400", "batch=2", "out=cloud.json")
    status, out, err = midcut("profile", "model=mnist", f"cpufreq_root={tmp_path}", *arguments)
    assert status == 0, err
    assert "measured with 2 images at once; predictors and fits need batch=1" in out
    profile = read_profile(tmp_path / "cloud.json")
    assert (profile.role, profile.batch, [run.clock_mhz for run in profile.runs]) == ("cloud", 2, [2400.0])


def test_a_clock_that_is_not_set_is_read(midcut, cpufreq, tmp_path):
    (cpufreq / "scaling_available_frequencies").unlink()
    arguments = (
        "profile",
        "model=mnist",
        "repeats=2",
        "warmup=0",
        f"cpufreq_root={cpufreq.parents[1]}",
        "out=edge.json",
    )
    status, _, err = midcut(*arguments)
    assert status == 0, err
    assert [run.clock_mhz for run in read_profile(tmp_path / "edge.json").runs] == [900.0]


def test_clocks_that_cannot_be_set_are_refused(midcut):
    status, _, err = midcut("profile", "model=mnist", "clocks_mhz=[600]", "cpufreq_root=/nowhere")
    assert status == 1
    assert "clocks_mhz cannot be set here: /nowhere has no cpufreq" in err
    assert "Traceback" not in err


def test_nodes_are_timed_in_place(tiny, tiny_model):
    """The walk over the nodes runs the same model as a whole run."""
    turns = []
    clocks = iter([900.0, None, 1200.0, 1000.0])  # as a governor sets it, after each of the four counted passes
    run = measure(tiny, tiny_model.example, lambda: next(clocks), repeats=4, warmup=2, advance=lambda: turns.append(1))
    assert len(turns) == 6
    assert run.clock_mhz == 1000.0
    assert len(run.node_s) == len(run.node_spread_s) == tiny.node_count
    assert 0.01 < sum(run.node_s) / run.whole_s < 100.0  # seconds both, of few and short runs
    before = tiny_model.example[0].clone()
    with torch.no_grad():
        assert sum(1 for _ in tiny.walk(tiny_model.example)) == tiny.node_count
    assert torch.equal(before, tiny_model.example[0]), "in-place nodes do not write into the input"


def test_power_is_measured_and_used_as_energy(midcut, tmp_path):
    chip = tmp_path / "sys/class/hwmon/hwmon0"
    chip.mkdir(parents=True)
    (chip / "name").write_text("ina260\n")
    (chip / "power1_input").write_text("3500000\n")
    source = ("power=true", "power_idle_s=0.2", "telemetry=hwmon", f"telemetry.hwmon.root={tmp_path}")
    clock = (f"cpufreq_root={tmp_path}", "stated_clock_mhz=1500")
    status, out, err = midcut("profile", "model=mnist", "repeats=3", "warmup=0", *source, *clock, "out=here")
    assert status == 0, err
    (run,) = find_profile(tmp_path / "here", "edge", "mnist").runs
    assert abs(run.idle_w - 3.5) < 0.1
    assert abs(run.power_w - 3.5) < 0.5  # this sensor never changes
    assert "W computing, 3.50 W idle" in out
    energy = ("objective=energy", "objective.energy.profile=here", "edge_profile=here", "planner.w=1")
    status, out, err = midcut("plan", "model=mnist", *energy)
    assert status == 0, err


def test_power_without_a_source_says_why_of_each(midcut, tmp_path):
    nothing = ("telemetry=[rapl,hwmon]", f"telemetry.rapl.root={tmp_path}", f"telemetry.hwmon.root={tmp_path}")
    status, _, err = midcut("profile", "model=mnist", "power=true", *nothing)
    assert status == 1
    assert "power=true: no telemetry source measures power here; rapl: no energy counter" in err
    assert "; hwmon: no chip under" in err
    assert "Traceback" not in err
