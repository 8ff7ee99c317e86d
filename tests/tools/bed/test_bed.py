from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bed import Bed, BedError, BedOptions, state
from bed.calibration import Row, require_within
from bed.probing import TimedConnection, round_trips_ms

pytestmark = pytest.mark.root
TOOLS = Path(__file__).parents[3] / "tools"


def remains(tag):
    names = [path.name for path in Path("/run/netns").glob(f"mcb-{tag}-*")]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/mcb-{tag}")]
    return names + groups + ([tag] if (state.RUN / tag).exists() else [])


def test_rate_and_round_trip_are_what_was_asked_for(make_bed):
    bed = make_bed(link="tun")
    bed.link.set(bandwidth_kbps=5000, ping_ms=40)
    assert 40 <= min(round_trips_ms(bed, 10)) < 120
    with TimedConnection(bed.edge, bed.cloud) as path:
        path.transfer_s(100_000)
        # 100 kB in 69.06 segments of 1448, each 1514 bytes on the wire: 167.3 ms, and the round trip.
        assert 0.9 < min(path.transfer_s(100_000) for _ in range(3)) / 0.2073 < 4
        bed.link.set(bandwidth_kbps=20_000, ping_ms=0)
        assert 0.75 < min(path.transfer_s(100_000) for _ in range(3)) / 0.0418 < 4


def test_tbf_has_a_rate_and_refuses_a_delay(make_bed):
    bed = make_bed(link="tbf")
    bed.link.set(bandwidth_kbps=5000)
    with TimedConnection(bed.cloud, bed.edge) as path:
        path.transfer_s(100_000)
        assert 0.9 < min(path.transfer_s(200_000) for _ in range(3)) / 0.3346 < 4
    with pytest.raises(BedError, match="link=tbf shapes the rate only"):
        bed.link.set(ping_ms=10)


def test_processes_are_inside_pinned_and_reached_from_outside(make_bed):
    bed = make_bed(link="tbf")
    assert {socket.gethostname(), bed.edge.address} == {socket.gethostname(), "10.77.0.1"}
    code = "import socket,os; s=socket.create_server(('', 9100)); print('on', os.sched_getaffinity(0), flush=True);"
    server = bed.cloud.popen([sys.executable, "-c", code + "s.accept()[0].sendall(b'hi')"], stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"on {%d}\n" % bed.cloud.core
    with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
        socket.create_connection(("127.0.0.1", 9100), 2)
    with bed.cloud.connect(9100) as connection:
        assert connection.recv(2) == b"hi"
    assert server.wait(60) == 0
    server.stdout.close()
    with pytest.raises(BedError, match=r"cloud: no connection to 10\.77\.0\.2:9101"):
        bed.cloud.connect(9101)


def test_a_slower_clock_is_seen_by_telemetry_and_a_throttle_is_not(make_bed):
    from midcut_telemetry.config import Aggregate
    from midcut_telemetry.cpufreq import Cpufreq

    bed = make_bed(link="tbf", clock="cgroup")
    telemetry = Cpufreq(root=str(bed.clock.root), aggregate=Aggregate.max, core=None, interval_s=1.0)
    files = [bed.clock.procs.parent / f"cpu.cfs_{name}_us" for name in ("quota", "period")]
    limits = (lambda: tuple(int(file.read_text()) for file in files)) if files[0].exists() else None
    bed.clock.set(600)
    assert telemetry.read() == {"clock_mhz": 600.0}
    if limits:
        assert limits() == (4000, 10_000)
    bed.clock.throttle(2.0)
    assert telemetry.read() == {"clock_mhz": 600.0}
    if limits:
        assert limits() == (4000, 20_000)
    with pytest.raises(BedError, match="under the kernel's 5%"):
        bed.clock.throttle(10.0)
    assert bed.clock.slowdown == 2.0
    bed.clock.throttle(1.0)
    bed.clock.set(1500)
    if limits:
        assert limits()[0] == -1
    with pytest.raises(BedError, match="up to max_clock_mhz=1500"):
        bed.clock.set(1600)


def test_an_edge_process_stretches_itself_where_the_clock_is_cooperative(make_bed):
    from midcut_executors.emulated_clock import EmulatedClock

    bed = make_bed(link="tbf", clock="cooperative")
    settings = dict(
        override.removeprefix("executor.").split("=")
        for override in bed.clock.edge_overrides
        if "executor." in override
    )
    assert settings == {"root": str(bed.clock.root), "max_clock_mhz": "1500", "trace": "null"}
    executor = EmulatedClock(None, settings["root"], 1500.0, epoch_s=None, speed=1.0, loop=False)
    bed.clock.set(500)
    bed.clock.throttle(2.0)
    assert executor.clock_mhz == 500

    class Network:
        def run(self, start, stop, values):  # noqa: ARG002
            time.sleep(0.02)
            return ()

    assert executor.prepare(Network(), 0, 1).run(())[1] >= 0.12


def test_leaving_a_bed_ends_its_processes_and_leaves_nothing(make_bed):
    make_bed()  # or skip
    with Bed(BedOptions(trim=False)) as bed:
        sleeper = bed.edge.popen(["sh", "-c", "echo inside; exec sleep 1000"], stdout=subprocess.PIPE)
        assert sleeper.stdout.readline() == b"inside\n"
        assert remains(bed.tag)
    assert remains(bed.tag) == []
    assert sleeper.wait(60) == -signal.SIGTERM
    sleeper.stdout.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_bed_leaves_nothing_for_the_next(make_bed, how):
    make_bed(link="tbf").link.set(bandwidth_kbps=1000)  # another bed, which must stay
    code = (
        f"import sys, time; sys.path.insert(0, {str(TOOLS)!r})\n"
        "from bed import Bed, BedOptions\n"
        "with Bed(BedOptions(trim=False)) as bed:\n"
        "    bed.edge.popen(['sleep', '1000'])\n"
        "    print(bed.tag, bed.link.process, flush=True)\n"
        "    time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner:
        tag, link = owner.stdout.readline().decode().split()
        assert remains(tag)
        owner.send_signal(how)
        owner.wait(240)
    if how == signal.SIGKILL:
        state.remove_leftovers()
        end = time.monotonic() + 60
        while state.Process.of(int(link)).started and time.monotonic() < end:
            time.sleep(0.05)
        assert not state.Process.of(int(link)).started
    assert remains(tag) == []


def test_an_inaccurate_bed_is_an_error():
    good = Row("ping", "ms", 5.0, 5.2, 5.0, 5.4, 9, floor=0.3)
    bad = Row("rate up", "kbit/s", 1000.0, 960.0, 950.0, 970.0, 5)
    require_within([good], 0.03)
    with pytest.raises(BedError, match=r"rate up 1000 kbit/s came out as 960 \(-4\.0%, allowed 3%\); 1 of 2 rows"):
        require_within([good, bad], 0.03)


def test_check_writes_what_it_measured(make_bed, tmp_path):
    make_bed(link="tbf")  # or skip
    command = [sys.executable, str(TOOLS / "testbed"), "check", "--quick", "--link", "tbf", "--clock", "cooperative"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False, timeout=600)
    written = json.loads((tmp_path / "check.json").read_text())
    assert written["bed"]["link"] == "tbf"
    assert {row["what"] for row in written["rows"]} == {"rate up", "rate down"}
    assert (done.returncode == 0) == all(row["within"] for row in written["rows"])
    assert len((tmp_path / "check.csv").read_text().splitlines()) == 1 + len(written["rows"])


def test_without_root_one_line_says_so():
    command = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, str(TOOLS / "testbed"), "check"]
    if os.geteuid() != 0:
        command = command[3:]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 1
    assert done.stderr == "tools/testbed: a test bed needs root (network namespaces and devices)\n"
