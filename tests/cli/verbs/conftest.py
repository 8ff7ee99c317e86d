from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.fixture
def start(tmp_path):
    """Start the command in an empty folder; ended with the test."""
    started = []

    def run(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "midcut.cli", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def midcut(start):
    """Run the command to its end; give exit status, stdout and stderr."""

    def run(*arguments):
        process = start(*arguments)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    return run


@pytest.fixture
def cpufreq(tmp_path):
    """A fake clock policy, 600 to 1500 MHz."""
    folder = tmp_path / "sys" / "cpufreq" / "policy0"
    folder.mkdir(parents=True)
    for name, value in {
        "scaling_available_frequencies": "600000 900000 1200000 1500000",
        "scaling_min_freq": "600000",
        "scaling_max_freq": "1500000",
        "scaling_cur_freq": "900000",
        "scaling_governor": "ondemand",
    }.items():
        (folder / name).write_text(value)
    return folder
