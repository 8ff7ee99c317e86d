"""A short version of `tools/break/chaos.py`; the long one is run by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[3] / "tools"


@pytest.mark.parametrize(("codec", "clouds"), [("raw", 2), pytest.param("base64", 1, marks=pytest.mark.slow)])
def test_whatever_breaks_no_answer_is_lost_and_none_is_wrong(tmp_path, codec, clouds):
    """Kills, freezes, garbage, bodies cut short and more; it exits with 1 where an answer is missing or wrong."""
    command = [sys.executable, str(TOOLS / "break" / "chaos.py"), "--requests", "300", "--kills", "4", "--rate", "40"]
    done = subprocess.run(
        [*command, "--codec", codec, "--clouds", str(clouds), "--json", "chaos.json"],
        capture_output=True, text=True, cwd=tmp_path, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "chaos.json").read_text())
    assert (figures["answers"], figures["lost"], figures["wrong"]) == (300, 0, 0)
    assert figures["faults"] == {
        "kill": 4, "freeze": 2, "garbage": 4, "cut mid-body": 4, "reset": 2, "slow": 2, "swallow": 1, "slice": 1,
        "flip upward": 4, "flip downward": 4, "forgotten way": 1, "false refusal": 2, "oversized": 2, "lying": 2,
        "hostile picture": 2, "slow readers": 1,
    }  # fmt: skip
    assert set(figures["finished by"]) == {"cloud", "edge"}
