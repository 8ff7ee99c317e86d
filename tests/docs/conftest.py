from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 280


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where a README's commands run: beside the files that they name."""
    place = tmp_path_factory.mktemp("readme")
    (place / "plugins").symlink_to(ROOT / "plugins")
    return place


@pytest.fixture(scope="session")
def environment():
    """The environment of a shell in which .venv is active, with more folders to import from."""

    def made(path=()):
        entries = [*map(str, path), os.environ.get("PYTHONPATH", "")]
        return os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, entries)),
            "COLUMNS": "200",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    return made


@pytest.fixture
def midcut(folder, environment):
    """Run the command in that folder; give the finished process."""

    def go(*words, path=()):
        return subprocess.run(
            [sys.executable, "-m", "midcut.cli", *words],
            cwd=folder,
            env=environment(path),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    return go


@pytest.fixture
def serving(folder, environment):
    """Start a server verb on a free port; give its address. It must end by itself on SIGTERM."""
    running = []

    def go(*words):
        port = "input.port=0" if words[0] == "edge" else "server.port=0"
        process = subprocess.Popen(
            [sys.executable, "-m", "midcut.cli", *words, port, "cuts.verify=false"],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        line = process.stdout.readline()
        ready = re.match(r"midcut \w+ ready on (\S+)", line)
        assert ready, process.communicate()[1]
        return ready[1]

    yield go
    for process in running:
        process.send_signal(signal.SIGTERM)
    outcomes = [(process.communicate(timeout=LIMIT_S)[1], process.returncode) for process in running]
    assert [code for _, code in outcomes] == [0] * len(running), outcomes
