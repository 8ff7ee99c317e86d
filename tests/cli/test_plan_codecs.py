"""`midcut plan` with several codecs."""

from __future__ import annotations

import json

import pytest

MODEL = ("plan", "model=alexnet", "cuts.modules=true", "planner.w=0", "hydra.run.dir=out")


def test_cut_and_codec_are_chosen_together(midcut, tmp_path):
    slow = ("telemetry.constant.bandwidth_kbps=2000", "cuts.last_cut=-2")
    finished = midcut(*MODEL, *slow, "codec=[raw,fp16,zstd]", "codec.zstd.ratio=0.6", "plot=true")
    assert finished.returncode == 0, finished.stderr
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    by_row = {(row["cut"], row["codec"]): row for row in plan["rows"]}
    # Cut 0 and the 20 ends of leaf modules before the last one, three codecs each.
    assert len(by_row) == 3 * 21
    assert plan["codec"] == "fp16"
    pick, bare = by_row[plan["cut"], "fp16"], by_row[plan["cut"], "raw"]
    assert pick["latency_s"] == min(row["latency_s"] for row in plan["rows"])
    # Half the payload at 2 Mbit/s, less what fp16 takes at 1500 MB/s.
    saved_bytes = bare["request_bytes"] - pick["request_bytes"]
    codec_s = (bare["request_bytes"] - 430) / 1500e6
    assert bare["link_s"] - pick["link_s"] == pytest.approx(saved_bytes * 8 / 2e6 - codec_s, rel=1e-3)
    assert pick["edge_s"] == bare["edge_s"]
    marked = [line for line in finished.stdout.splitlines() if line.startswith(">") and "faster" not in line]
    assert [line.split()[1] for line in marked] == [str(plan["cut"])]
    assert "fp16" in marked[0]
    assert (tmp_path / "out/plan.png").stat().st_size > 10_000


def test_with_bare_bytes_alone_there_is_no_column_for_codecs(midcut):
    finished = midcut(*MODEL)
    assert finished.returncode == 0, finished.stderr
    assert "codec" not in finished.stdout


def test_no_codec_over_the_floor_is_one_line(midcut):
    finished = midcut(*MODEL, "codec=[fp16,int8]", "codec.int8.agreement=0.9", "accuracy_floor=0.95")
    assert finished.returncode == 1
    assert finished.stderr.strip().splitlines()[-1] == (
        "midcut plan: no codec satisfies accuracy_floor=0.95: fp16 has unknown agreement (codec.fp16.agreement), "
        "int8 has agreement 0.9; a lossless codec always does"
    )
