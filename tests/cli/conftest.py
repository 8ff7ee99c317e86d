from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.fixture
def midcut(tmp_path):
    """Run the command in an empty folder; give the finished process."""

    def run(*arguments, path=(), **environment):
        entries = [*map(str, path), os.environ.get("PYTHONPATH", "")]
        return subprocess.run(
            [sys.executable, "-m", "midcut.cli", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, entries)), "COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run
