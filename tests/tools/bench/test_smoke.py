"""The benchmarks of the wire and the cloud run, and compare what they time with what is right. What they say is
measured by people, on a quiet machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[3] / "tools" / "bench"


def figures(tmp_path, tool, *arguments):
    out = tmp_path / "figures.json"
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, TOOLS / tool, *arguments, "--json", out],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())


def test_bench_wire(tmp_path):
    found = figures(tmp_path, "wire.py", "--rounds", "2", "--no-alexnet")
    assert [one["body"] for one in found["bodies"]] == ["4 kB", "200 kB", "800 kB", "3 MB"]
    for one in found["bodies"]:
        assert {"asyncio echo", "bare echo", "v2 binary, wire", "v2 binary, cloud"} < set(one["ratio"])
        assert all(0.0 < low <= middle <= high for low, middle, high in one["ratio"].values())
    assert found["bodies"][1]["bytes_ratio"]["v2 binary, cloud"] <= 1.005


def test_bench_cloud(tmp_path):
    settings = ["--model", "mnist", "--cut-after", "1", "--rounds", "1", "--seconds", "0.1", "--through", "direct"]
    found = figures(tmp_path, "cloud.py", *settings)
    assert [(row["clients"], row["together"]) for row in found["direct"]] == [
        (clients, together) for together in (1, 8) for clients in (1, 4, 16, 64)
    ]
    assert all(row["failed"] == row["wrong"] == 0 for row in found["direct"])


def test_bench_overload(tmp_path):
    rows = figures(tmp_path, "overload.py", "--rounds", "1", "--seconds", "0.5", "--clients", "24")
    assert [(row["server"], row["clients"], row["kind"]) for row in rows] == [
        (server, *case) for server in ("cloud", "edge") for case in ((16, "few"), (24, "impatient"), (24, "polite"))
    ]
    assert all(row["rate"] > 0.0 and row["wrong"] == row["failed"] == 0 for row in rows)
