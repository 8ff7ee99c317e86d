"""A short version of `tools/break/fuzz.py`; the long one is run by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.parametrize(
    "route",
    [
        "cloud /v1/infer",
        "cloud /v2/models/M/infer",
        pytest.param("cloud /v2/models/M@CUT/infer", marks=pytest.mark.slow),
        pytest.param("cloud /v2/models/M/versions/V/infer", marks=pytest.mark.slow),
        "edge /v1/infer",
        pytest.param("edge /v2/models/M/infer", marks=pytest.mark.slow),
    ],
)
def test_what_is_malformed_is_a_4xx_with_a_reason_and_costs_no_memory(tmp_path, route):
    """Slow clients and bombs too; it exits with 1 where anything else is answered."""
    command = [
        sys.executable,
        str(TOOLS / "break" / "fuzz.py"),
        "--requests",
        "600",
        "--route",
        route,
        "--json",
        "fuzz.json",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "fuzz.json").read_text())[route]
    assert figures["refused"] >= 600
    assert {"bytes", "JSON", "noise", "header", "framing", "request line"} <= set(figures["kinds"])
    assert figures["statuses"]["400"] > 300
