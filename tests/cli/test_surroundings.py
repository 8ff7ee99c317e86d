"""Disks that are full or cannot be written, outputs that take no more, addresses: one line, and nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import midcut_models

DIGITS = Path(midcut_models.__file__).parent / "digits"
STREAM = ("edge", "model=mnist", "input=folder", f"input.path={DIGITS}", "input.plot=false", "telemetry=constant",
          "cloud_url=http://127.0.0.1:9")  # fmt: skip


def limited(arguments, folder, size_bytes):
    return subprocess.run(
        [sys.executable, "-m", "midcut.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes)),
    )


@pytest.mark.parametrize("verb", ["plan", "simulate", "edge"])
def test_a_file_in_place_of_the_run_directory_is_one_line(midcut, tmp_path, verb):
    (tmp_path / "outputs").write_text("a file")
    more = STREAM[1:] if verb == "edge" else ()
    finished = midcut(verb, *more)
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"midcut {verb}: ")
    assert "outputs/" in line
    assert "hydra.run.dir=DIR" in line


def test_a_sweep_that_cannot_write_is_one_line(midcut, tmp_path):
    (tmp_path / "multirun").write_text("a file")
    finished = midcut("plan", "-m", "planner.w=0.1,0.2")
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert finished.stderr.splitlines()[-1].startswith("midcut plan: ")


def test_a_disk_that_fills_up_keeps_what_was_answered(tmp_path):
    finished = limited([*STREAM, "hydra.run.dir=run"], tmp_path, 20_000)
    lines = (tmp_path / "run/results.jsonl").read_bytes().splitlines(keepends=True)
    records = [json.loads(line) for line in lines]
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert finished.stderr.splitlines()[-1] == (
        f"midcut edge: cannot write {tmp_path}/run/results.jsonl: File too large; "
        f"the stream ended there, with {len(records)} answers in results.jsonl"
    )
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["requests"] == len(records) > 5
    assert summary["stopped_early"] is True
    assert all(json.loads(line) for line in (tmp_path / "run/edge.jsonl").read_bytes().splitlines())


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_small_disk_holds_whole_lines_and_the_summary(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        finished = limited([*STREAM, f"hydra.run.dir={disk}/run", "input.repeat=9"], tmp_path, 10**9)
        records = [json.loads(line) for line in (disk / "run/results.jsonl").read_bytes().splitlines()]
        summary = json.loads((disk / "run/summary.json").read_text())
    finally:
        subprocess.run(["umount", disk], check=True)
    assert finished.returncode == 1
    assert "No space left on device" in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr
    assert summary["requests"] == len(records) > 5


def test_an_output_that_is_full_is_one_line(tmp_path):
    with Path("/dev/full").open("w") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "midcut.cli", "plan", "model=mnist"], cwd=tmp_path, stdout=full,
            stderr=subprocess.PIPE, text=True, check=False, timeout=300,
        )  # fmt: skip
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == "midcut plan: No space left on device"
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("verb", [["plan", "model=mnist"], ["plan", "--help"], ["plugins"]])
def test_a_reader_that_has_gone_is_no_error(tmp_path, verb):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        finished = subprocess.run(
            [sys.executable, "-m", "midcut.cli", *verb], cwd=tmp_path, stdout=gone, stderr=subprocess.PIPE,
            text=True, check=False, timeout=300,
        )  # fmt: skip
    assert finished.returncode in (1, 141)  # rich, which draws tables, ends with 1
    assert "Traceback" not in finished.stderr
    assert "BrokenPipe" not in finished.stderr


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
def test_a_server_on_ipv6_prints_what_can_be_typed(tmp_path):
    arguments = ["cloud", "model=mnist", "server.host='::1'", "server.port=0"]
    with subprocess.Popen(
        [sys.executable, "-m", "midcut.cli", *arguments], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as server:
        line = server.stdout.readline()
        server.terminate()
    assert line.startswith("midcut cloud ready on http://[::1]:")
    assert int(line.split("[::1]:")[1].split()[0]) > 0
