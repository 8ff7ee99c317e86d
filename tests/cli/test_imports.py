"""What running processes import, and what they say where the extra `report` is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from midcut.profiles import SHIPPED

DIGITS = Path(__file__).parents[2] / "plugins/midcut_models/digits"

# Runs the verbs of `lines` in one process, one after the other, each until it is ready and was told to stop, or has
# ended by itself; after each it prints which of `watched` are imported.
RUN = """
import json, os, signal, sys
from midcut.cli import main

class StopWhenReady:
    def __init__(self, stream):
        self.stream = stream
    def write(self, text):
        self.stream.write(text)
        if " ready on " in text:
            os.kill(os.getpid(), signal.SIGTERM)
    def __getattr__(self, name):
        return getattr(self.stream, name)

lines, watched = json.loads(sys.argv[1])
sys.stdout = StopWhenReady(sys.stdout)
for line in lines:
    sys.argv = ["midcut", *line]
    main()
    print("imported", json.dumps([name for name in watched if name in sys.modules]), flush=True)
"""


def test_edge_and_cloud_import_no_package_that_their_components_do_not_use(tmp_path):
    lines = [
        ["cloud", "model=mnist", "server.port=0"],
        ["edge", "model=mnist", "input.port=0", "predictor/edge=power_law"],
        ["edge", "model=mnist", "input=folder", f"input.path={DIGITS}", "input.limit=2", "input.plot=false"],
        ["edge", "model=alexnet", "input.port=0"],
    ]
    watched = ["matplotlib", "jinja2", "scipy", "torchvision"]
    finished = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([lines, watched])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    imported = [json.loads(line[9:]) for line in finished.stdout.splitlines() if line.startswith("imported ")]
    assert imported == [[], [], [], ["torchvision"]]


WITHOUT_MATPLOTLIB = "import sys; sys.modules['matplotlib'] = None; from midcut.cli import main; main()"


def without_matplotlib(tmp_path, *line):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_MATPLOTLIB, *line],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "wanted_by"),
    [
        (["plan", "plot=true"], "plot=true"),
        (["fit", f"profiles=[{SHIPPED / 'profiles/pi4/mnist.json'}]"], "the figure"),
        (["report", "outputs"], "a report"),
    ],
)
def test_figures_without_matplotlib_end_in_one_line(tmp_path, line, wanted_by):
    finished = without_matplotlib(tmp_path, *line)
    assert finished.returncode == 1
    assert finished.stderr == f"midcut {line[0]}: {wanted_by} needs matplotlib: pip install 'midcut[report]'\n"


def test_a_stream_without_matplotlib_leaves_its_results_and_says_why_there_is_no_picture(tmp_path):
    finished = without_matplotlib(
        tmp_path, "edge", "model=mnist", "input=folder", f"input.path={DIGITS}", "input.limit=2"
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.rstrip().endswith("results.jsonl, summary.json")
    (line,) = [line for line in finished.stderr.splitlines() if "no stream.png" in line]
    assert "input.plot=true needs matplotlib: pip install 'midcut[report]'" in line
