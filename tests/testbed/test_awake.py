from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def test_a_bed_keeps_its_cores_awake_and_gives_way_to_all_else(make_bed):
    from bed import namespaces, state

    bed = make_bed()
    core = bed.options.edge_core
    assert bed.options.cloud_core == core
    inside = namespaces.tool("ip", "netns", "pids", state.namespace(bed.tag, "edge")).split()
    (spinning,) = [int(pid) for pid in inside if b"awake.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    end = time.monotonic() + 20  # it is just starting
    while os.sched_getscheduler(spinning) != os.SCHED_IDLE and time.monotonic() < end:
        time.sleep(0.02)
    assert os.sched_getscheduler(spinning) == os.SCHED_IDLE
    assert os.sched_getaffinity(spinning) == {core}


def test_it_ends_with_the_process_it_is_for():
    from bed import awake

    assert subprocess.run([sys.executable, "-I", awake.__file__, "1"], timeout=20, check=False).returncode == 0
