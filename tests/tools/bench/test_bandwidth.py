"""The benchmark of the measured bandwidth runs on a bed, and knows what a body takes on its link."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.bandwidth import overhead_s, wire_s

TOOL = Path(__file__).parents[3] / "tools/bench/bandwidth.py"


def test_a_body_is_on_the_link_for_its_frames_less_what_a_token_bucket_lets_through_at_once():
    # 17,505 bytes are 13 frames with 66 bytes of headers each: 18,363 bytes, of which tbf lets 3200 through.
    assert wire_s(17_505, 4_000, "netem") == pytest.approx(0.036726)
    assert wire_s(17_505, 4_000, "tbf") == pytest.approx(0.030326)
    assert wire_s(1_000, 4_000, "tbf") == 0.0
    exchange = {"sent_bytes": 17_505, "wall_s": 0.0600, "server_s": 0.0020}
    assert overhead_s(exchange, 4_000, 20, "netem") == pytest.approx(0.001274)


@pytest.mark.root
def test_the_bandwidth_of_a_token_bucket(tmp_path):
    from bed import BedUnavailable
    from bed.testbed import require_support

    try:
        require_support()
    except BedUnavailable as why:
        pytest.skip(str(why))
    out = tmp_path / "figures.json"
    settings = ["--kbps", "4000", "--bytes", "37000,130000", "--seconds", "1", "--least", "3", "--json", out]
    done = subprocess.run([sys.executable, TOOL, *settings], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(out.read_text())
    assert [row["body_bytes"] for row in rows] == [37_000, 130_000]
    for row in rows:
        assert row["true_kbps"] == pytest.approx(3_825.6, abs=0.1)
        assert len(row["exchanges"]) == len(row["readings_kbps"]) >= 3
    # 130 kB come to the cloud in many pieces, and it tells how long they took.
    assert all(exchange["arrival_bytes"] > 0 < exchange["arrival_s"] for exchange in rows[1]["exchanges"])
