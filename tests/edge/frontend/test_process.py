"""The edge as people run it, beside a cloud process."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme
from safetensors.torch import load_file, save_file

import midcut_models

DIGITS = Path(midcut_models.__file__).parent / "digits"
TOOLS = Path(__file__).parents[3] / "tools"
MIDCUT = [sys.executable, "-m", "midcut.cli"]


def start(folder, *arguments):
    process = subprocess.Popen(
        [*MIDCUT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    )
    line = process.stdout.readline()
    if " ready on " not in line:
        process.kill()
        pytest.fail(f"{arguments} did not start: {process.communicate()[1]}")
    return process, line.split()[4]


def end(process):
    process.send_signal(signal.SIGTERM)
    try:
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    return process.returncode, errors


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    process, url = start(tmp_path_factory.mktemp("cloud"), "cloud", "model=mnist", "server.port=0")
    yield url
    assert end(process)[0] == 0


def edge(folder, *overrides, timeout=600):
    command = [*MIDCUT, "edge", "model=mnist", "telemetry=constant", "hydra.run.dir=run", *overrides]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=timeout, check=False)


def test_a_folder_is_streamed_and_summed_up(tmp_path, cloud):
    folder = ("input=folder", f"input.path={DIGITS}", "input.limit=30", f"input.labels={DIGITS / 'labels.csv'}")
    done = edge(
        tmp_path, f"cloud_url={cloud}", "cuts.last_cut=10", "planner.w=0", *folder
    )  # cuts 0 to 10 of 13 need the cloud
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert len(lines) == summary["requests"] == 30
    assert summary["finished_by"] == {"cloud": 30}
    assert summary["fallbacks"] == 0
    assert summary["graded"] == 30
    assert summary["right"] >= 28  # 99 % of all digits
    assert "requests" in done.stdout
    assert "first cut" in done.stderr
    events = [json.loads(line) for line in (tmp_path / "run" / "edge.jsonl").read_text().splitlines()]
    first = next(event for event in events if event["event"] == "first cut")
    assert first["chosen"]["cut"] == lines[0]["cut"]
    assert first["runner_up"]["latency_s"] >= first["chosen"]["latency_s"]
    assert set(first["age_s"]) == {"clock_mhz", "bandwidth_kbps", "ping_ms"}


def test_what_a_stream_has_learnt_is_summed_up_and_kept_for_the_next_one(tmp_path, cloud):
    folder = ("input=folder", f"input.path={DIGITS}", "input.limit=20", "input.plot=false")
    # Calibration takes no factor from a head too short to time; cut 0 has none.
    cuts = ("cuts.first_cut=4", "cuts.last_cut=10")
    slow = "telemetry.constant.bandwidth_kbps=10"
    always = (f"cloud_url={cloud}", *cuts, slow, "engine.interval_s=0.2", "calibration.file=../kept.json")
    (tmp_path / "run").mkdir()
    first, second = (edge(tmp_path / "run", *always, *folder) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    learnt = json.loads((tmp_path / "run" / "run" / "summary.json").read_text())["calibration"]
    assert (learnt["window"], learnt["parts"]["link"]["samples"], learnt["parts"]["edge"]["samples"]) == (9, 18, 9)
    # A request takes a second and more at 10 kbit/s.
    assert learnt["parts"]["link"]["ratio"] < 1.0 or learnt["parts"]["link"]["offset_s"] < 0.0
    assert "calibration restored" not in first.stderr
    assert "calibration restored" in second.stderr
    assert json.loads((tmp_path / "kept.json").read_text())["format"] == "midcut-calibration/1"


def test_where_the_first_of_two_clouds_is_gone_the_second_one_answers(tmp_path, cloud):
    folder = ("input=folder", f"input.path={DIGITS}", "input.limit=5")
    done = edge(tmp_path, f"cloud_url=[http://127.0.0.1:9,{cloud}]", "cuts.last_cut=10", "telemetry=linux", *folder)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["finished_by"] == {"cloud": 5}


def test_other_weights_in_the_cloud_are_told_in_one_line_and_nothing_is_sent(tmp_path, cloud):
    weights = load_file(DIGITS.parent / "mnist.safetensors")
    save_file({name: tensor + 1e-3 for name, tensor in weights.items()}, tmp_path / "other.safetensors")
    other = "model.mnist.weights=other.safetensors"
    done = edge(tmp_path, f"cloud_url={cloud}", other, "input=folder", f"input.path={DIGITS}", "input.limit=3")
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "planning for the edge alone" in line]
    assert len(told) == 1
    assert "other weights" in told[0]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["finished_by"] == {"edge": 3}


def test_the_edge_server_answers_without_a_cloud_and_ends_on_sigterm(tmp_path):
    process, url = start(
        tmp_path, "edge", "model=mnist", "telemetry=constant", "input.port=0", "cloud_url=http://127.0.0.1:9"
    )
    try:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=600)
        digit = min(DIGITS.glob("*.png")).read_bytes()
        connection.request("POST", "/v1/infer", body=digit, headers={"Content-Type": "image/png"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200
        assert answer["finished_by"] == "edge"
        assert answer["class"] in range(10)
        connection.close()
    finally:
        code, errors = end(process)
    assert code == 0
    assert "the cloud is not there yet" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_every_planning_step_is_in_the_log_file_and_only_moves_on_the_terminal(tmp_path, cloud):
    folder = ("input=folder", f"input.path={DIGITS}", "input.limit=10", "input.rate_hz=10", "engine.interval_s=0.1")
    done = edge(tmp_path, f"cloud_url={cloud}", *folder)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (tmp_path / "run" / "edge.jsonl").read_text().splitlines()]
    stays = [event for event in events if event["event"] == "cut stays"]
    assert stays
    (planned,) = (event for event in events if event["event"] == "planning ended")
    assert planned["steps"] == sum("observation" in event for event in events)
    assert {"observation", "age_s", "chosen", "runner_up", "reason"} <= set(stays[0])
    assert "cut stays" not in done.stderr


def test_a_cloud_that_offers_fewer_cuts_is_planned_for(tmp_path):
    process, url = start(tmp_path, "cloud", "model=mnist", "server.port=0", "cuts.last_cut=4")
    try:
        folder = ("input=folder", f"input.path={DIGITS}", "input.limit=5", "cuts.first_cut=3", "cuts.last_cut=10")
        done = edge(tmp_path, f"cloud_url={url}", "planner.w=0", *folder)
    finally:
        assert end(process)[0] == 0
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("planning on fewer cuts") == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["finished_by"] == {"cloud": 5}
    assert set(summary["cuts"]) <= {"3", "4"}


def test_a_folder_of_unreadable_images_ends_with_status_1_and_one_line(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"broken")
    done = edge(tmp_path, "cloud_url=http://127.0.0.1:9", "input=folder", "input.path=photos")
    assert done.returncode == 1
    assert "none of 1 images could be read" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_sigterm_in_a_stream_ends_it_with_a_summary(tmp_path, cloud):
    command = [*MIDCUT, "edge", "model=mnist", "telemetry=constant", "hydra.run.dir=run", f"cloud_url={cloud}"]
    settings = ["input=folder", f"input.path={DIGITS}", "input.repeat=1000", "input.rate_hz=20"]
    process = subprocess.Popen(
        [*command, *settings], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    results = tmp_path / "run" / "results.jsonl"
    deadline = time.monotonic() + 90
    while not (results.exists() and results.read_text().count("\n") >= 5):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    code, errors = end(process)
    assert code == 0, errors
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["stopped_early"] is True
    assert summary["requests"] == len(results.read_text().splitlines())


def test_the_cloud_killed_and_started_again_costs_no_answer_and_no_bit(tmp_path):
    """A short version of the benchmark; it exits with 1 where an answer is missing or wrong."""
    command = [sys.executable, str(TOOLS / "bench" / "outage.py"), "--model", "mnist", "--cut", "4"]
    done = subprocess.run(
        [*command, "--requests", "60", "--rate", "12"],
        capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "edge " in done.stdout


def test_every_variant_of_the_split_benchmark_is_bit_identical(tmp_path):
    command = [
        sys.executable,
        str(TOOLS / "bench" / "split.py"),
        "--models",
        "mnist",
        "--rounds",
        "3",
        "--json",
        "split.json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (figures,) = json.loads((tmp_path / "split.json").read_text())
    assert figures["wrong"] == 0
    assert len(figures["median_s"]) == 5


def test_the_end_of_a_stream_says_when_no_cloud_was_ever_reached(tmp_path, cloud):
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ours.pem")
    certificate = theirs.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = (f"server.tls_cert={tmp_path / 'cert.pem'}", f"server.tls_key={tmp_path / 'key.pem'}")
    process, url = start(tmp_path, "cloud", "model=mnist", "server.port=0", *tls)
    folder = ("input=folder", f"input.path={DIGITS}", "input.limit=3", "input.plot=false")
    try:
        wrong_ca = edge(tmp_path, f"cloud_url={url}", f"transport.tls_ca={tmp_path / 'ours.pem'}", *folder)
    finally:
        end(process)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "certificate" in summary["cloud_never_reached"].lower()
    assert "NEVER REACHED: https://127.0.0.1" in " ".join(wrong_ca.stdout.split())
    nobody = edge(tmp_path, "cloud_url=http://127.0.0.1:9", *folder)
    assert "NEVER REACHED: http://127.0.0.1:9: cannot reach 127.0.0.1:9" in " ".join(nobody.stdout.split())
    reached = edge(tmp_path, f"cloud_url={cloud}", *folder)
    assert "NEVER REACHED" not in reached.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["cloud_never_reached"] == ""
    assert set(summary["gains"]) == {"edge-only", "cloud-only"}
    assert "than edge-only, by the forecasts in use" in " ".join(reached.stdout.split())
