from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[3] / "tools"
PRINT_OPTIONS = "import json; from bed import BedOptions; print(json.dumps(vars(BedOptions())))"


def default_options(cores):
    """The default options of a process that may use these cores."""
    code = f"import os, sys; sys.path.insert(0, {str(TOOLS)!r}); os.sched_setaffinity(0, {cores}); {PRINT_OPTIONS}"
    return json.loads(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout)


def test_hosts_are_on_the_first_two_cores_that_the_process_may_use():
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core")
    known = default_options(set(cores))
    assert (known["cloud_core"], known["edge_core"]) == (cores[0], cores[1])


def test_both_are_on_the_only_core_there_is():
    last = max(os.sched_getaffinity(0))
    known = default_options({last})
    assert (known["cloud_core"], known["edge_core"]) == (last, last)
