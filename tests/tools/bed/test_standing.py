from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from bed import Bed, BedError, BedOptions, BedUnavailable, cli, state, tun

pytestmark = pytest.mark.root
TOOLS = Path(__file__).parents[3] / "tools"
NAMED = f"import sys; sys.path.insert(0, {str(TOOLS)!r}); from bed import state; state.STANDING = 'test'\n"
LIMITS = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.max")


@pytest.fixture
def named(monkeypatch):
    """The standing bed has another name, so that a user's stays."""
    monkeypatch.setattr(state, "STANDING", "test")
    try:
        yield
    finally:
        Bed.down()


@pytest.fixture
def up(named):  # noqa: ARG001 - fixtures cannot have usefixtures
    try:
        return Bed.up(BedOptions(link="tun", trim=False))
    except BedUnavailable as why:
        pytest.skip(str(why))


def in_force(bed):
    """The settings as the link's process, the control group and the shown clock have them."""
    reply = tun.send_command(state.RUN / bed.tag / "link.sock", {})
    link = {way: [reply[way][setting] for setting in ("rate_bps", "delay_s", "loss")] for way in ("up", "down")}
    shown = next(bed.clock.root.glob("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq"))
    group = [] if bed.clock.procs is None else bed.clock.procs.parent.glob("cpu.*")
    limits = {file.name: file.read_text() for file in group if file.name in LIMITS}
    return link, limits, shown.read_text(), shown.stat().st_mtime_ns


def test_what_one_command_sets_the_next_one_finds(up):
    first = Bed.standing()
    first.link.set(bandwidth_kbps=5000, ping_ms=30)
    first.clock.set(600)
    second = Bed.standing()
    assert (second.link.shape.bandwidth_kbps, second.link.shape.ping_ms, second.clock.mhz) == (5000, 30, 600)
    second.link.set(ping_ms=40)
    assert second.link.shape.bandwidth_kbps == 5000
    assert second.link.process == up.link.process


def test_a_mahimahi_trace_is_played_packet_by_packet_one_way(up, tmp_path):
    trace = tmp_path / "slow.up"
    trace.write_text("".join(f"{number * 200}\n" for number in range(1, 300)))
    stop, began = threading.Event(), time.monotonic()
    player = threading.Thread(target=cli.schedule.play_packets, args=(up, trace, stop))
    up.link.play_packets("up", trace)
    player.start()
    for _ in range(5):  # each asks with one packet, which waits for the next opportunity
        with pytest.raises(BedError):
            up.edge.dial(up.cloud.address, 9)
    assert time.monotonic() - began > 0.7
    stop.set()
    player.join()
    assert cli.main(["run", "--trace", "walk", "--packets", "yes"]) == 1


def test_finding_it_changes_nothing(up):
    up.link.set(bandwidth_kbps=5000, ping_ms=30)
    up.clock.set(600)
    before = in_force(up)
    Bed.standing().link.set()
    assert cli.main(["run", "--", "true"]) == 0
    assert in_force(up) == before


def test_commands_that_run_together_change_what_they_are_asked_to_alone(up):
    first, second = Bed.standing(), Bed.standing()
    first.link.set(ping_ms=30)
    second.link.set(bandwidth_kbps=5000)
    first.link.set(loss=0.01)
    assert vars(up.link.shape) == {"bandwidth_kbps": 5000, "ping_ms": 30, "loss": 0.01}
    first.clock.set(900)
    limits = in_force(up)[1:3]
    second.clock.set(up.clock.max_mhz * 0.2)  # with another period of the control group
    first.clock.set(900)
    assert in_force(up)[1:3] == limits
    second.clock.throttle(2.0)
    assert (first.clock.mhz, first.clock.slowdown) == (900, 2.0)


def test_each_step_of_a_schedule_is_found_by_others(up, tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("time_s,bandwidth_kbps\n0,7000\n3600,8000\n")
    command = ["run", "--trace", str(trace), "--", "sh", "-c", "read _; true"]
    code = NAMED + f"from bed import cli; sys.exit(cli.main({command!r}))\n"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as running:
        end = time.monotonic() + 240
        while up.link.shape.bandwidth_kbps is None and running.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        up.link.set(ping_ms=20)
        running.communicate(b"\n", timeout=240)
    assert running.returncode == 0
    assert vars(up.link.shape) == {"bandwidth_kbps": 7000, "ping_ms": 20, "loss": 0}


def test_it_stands_alone_until_it_is_taken_down(up):
    with pytest.raises(BedError, match="there is a test bed already; `tools/testbed down` removes it"):
        Bed.up(BedOptions(trim=False))
    assert up.tag in Bed.down()
    with pytest.raises(BedError, match="there is no test bed; make one with `tools/testbed up`"):
        Bed.standing()
    with pytest.raises(BedError, match="the test bed no longer exists"):
        up.clock.set(600)


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_one_that_is_stopped_while_it_is_made_leaves_no_process(make_bed, how):
    make_bed(link="tun")  # or skip
    reset_handler = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # this process may be one that ignores it
    )
    code = NAMED + reset_handler + "from bed import Bed, BedOptions; Bed.up(BedOptions(link='tun'))\n"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as maker:
        link, end = None, time.monotonic() + 240  # trimming takes 10 s from then on
        while link is None and maker.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
            link = written().get("link_process")
        with pytest.raises(BedError, match="still being made"):
            Bed.standing()
        maker.send_signal(how)
        maker.wait(240)
    assert link is not None
    if how == signal.SIGKILL:
        assert state.Process(**link).is_alive
        assert "test" in Bed.down()
    assert not lives_on(state.Process(**link))
    assert not (state.RUN / "test").exists()


def written():
    try:
        return json.loads((state.RUN / "test" / "state.json").read_text())
    except FileNotFoundError:
        return {}


def lives_on(process):
    end = time.monotonic() + 60
    while process.is_alive and time.monotonic() < end:
        time.sleep(0.02)
    return process.is_alive
