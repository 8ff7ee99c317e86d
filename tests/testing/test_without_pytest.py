"""What `midcut.testing` offers without pytest, tried in an interpreter that has none."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT_PYTEST = "import sys; sys.modules['pytest'] = None\n"


@pytest.mark.parametrize(
    "code",
    [
        "from midcut.testing import LoopbackTransport, ScriptedTelemetry, chain_placements, random_forecast",
        "from midcut.testing.faults import FaultProxy, Latency, Stream",
        "import runpy; sys.argv[1:] = ['--help']; runpy.run_module('midcut.testing.faults', run_name='__main__')",
        "import runpy; sys.argv[1:] = ['--help']; runpy.run_module('midcut.proxies.link', run_name='__main__')",
    ],
)
def test_fakes_and_proxies_need_no_pytest(code):
    ended = subprocess.run([sys.executable, "-c", WITHOUT_PYTEST + code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_suite_says_that_it_needs_pytest():
    code = WITHOUT_PYTEST + "from midcut.testing import PlannerSuite"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "pytest" in ended.stderr.splitlines()[-1]
