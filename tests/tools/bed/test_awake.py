from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def test_a_bed_keeps_its_cores_awake_and_gives_way_to_all_else(make_bed):
    from bed import state

    bed = make_bed()
    core = bed.options.edge_core
    assert bed.options.cloud_core == core
    end = time.monotonic() + 240  # it is just starting
    while not (spinning := spinners(state.namespace(bed.tag, "edge"))) and time.monotonic() < end:
        time.sleep(0.02)
    (pid,) = spinning
    assert os.sched_getaffinity(pid) == {core}


def test_it_ends_with_the_process_it_is_for():
    from bed import awake

    assert subprocess.run([sys.executable, "-I", awake.__file__, "1"], timeout=240, check=False).returncode == 0


def test_it_leaves_the_core_to_other_sessions():
    from bed import awake

    core = min(os.sched_getaffinity(0))
    pinned = ["taskset", "-c", str(core), sys.executable, "-I"]
    with (
        subprocess.Popen([*pinned, awake.__file__], start_new_session=True) as spinning,
        subprocess.Popen([*pinned, "-c", "while True: pass"], start_new_session=True) as working,
    ):
        try:
            wait_until(lambda: os.sched_getscheduler(spinning.pid) == os.SCHED_IDLE)  # it is just starting
            before = ticks(spinning.pid), ticks(working.pid)
            wait_until(lambda: ticks(working.pid) > before[1] + 100)
            spun, worked = (
                ticks(process.pid) - ticks_before
                for process, ticks_before in zip((spinning, working), before, strict=True)
            )
        finally:
            spinning.kill()
            working.kill()
    assert spun < 0.2 * worked  # two of a kind have as much each


def wait_until(condition):
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def spinners(namespace: str) -> list[int]:
    """Those that are at idle priority already."""
    from bed import namespaces

    inside = [int(pid) for pid in namespaces.run_program("ip", "netns", "pids", namespace).split()]
    ours = [pid for pid in inside if b"awake.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return [pid for pid in ours if os.sched_getscheduler(pid) == os.SCHED_IDLE]


def ticks(pid: int) -> int:
    """CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
