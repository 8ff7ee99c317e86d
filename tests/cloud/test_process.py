"""The cloud as people run it: a process, a port, signals."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager


@contextmanager
def cloud_process(folder, *overrides):
    """`midcut cloud` with the small model; yields the process and its port."""
    command = [sys.executable, "-m", "midcut.cli", "cloud", "model=mnist", "cuts.verify=false", "server.port=0"]
    with (folder / "cloud.err").open("w+") as errors:
        process = subprocess.Popen([*command, *overrides], stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder)
        try:
            line = process.stdout.readline()
            assert line.startswith("midcut cloud ready on http://127.0.0.1:"), (
                line,
                (folder / "cloud.err").read_text(),
            )
            yield process, int(line.split()[4].rsplit(":", 1)[1])
        finally:
            process.kill()
            process.wait(60)
            process.stdout.close()


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if body.startswith(b"{") else body
    finally:
        connection.close()


def wait_for_two_in_flight(port):
    """One request, beside the one that asks."""
    deadline = time.monotonic() + 60
    while b"\nmidcut_requests_in_flight 2.0" not in get(port, "/metrics")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_sigterm_drains_health_says_so_the_request_in_flight_is_answered_and_the_exit_is_clean(tmp_path):
    with cloud_process(tmp_path) as (process, port):
        assert get(port, "/health") == (200, {"status": "ok", "models": ["mnist"]})
        with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
            slow.sendall(b"POST /v1/probe HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
            wait_for_two_in_flight(port)
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 60
            while get(port, "/health")[0] != 503:
                assert time.monotonic() < deadline
            assert get(port, "/health") == (503, {"status": "draining", "models": ["mnist"]})
            assert get(port, "/v1/models") == (503, {"error": "this server is shutting down"})
            slow.sendall(b"def")
            answer = slow.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"received_bytes":6' in answer
        assert process.wait(60) == 0
    assert "Traceback" not in (tmp_path / "cloud.err").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cloud.err"]  # a server leaves no run directory


def test_a_server_writes_json_lines_where_it_is_told_to(tmp_path):
    settings = ("hydra.job_logging.root.handlers=[console,file]", "hydra.job_logging.handlers.file.filename=here.jsonl")
    with cloud_process(tmp_path, *settings) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    events = [json.loads(line) for line in (tmp_path / "here.jsonl").read_text().splitlines()]
    assert {"model loaded", "draining"} <= {event["event"] for event in events}


def test_a_request_that_never_ends_is_cut_off_when_the_drain_is_over(tmp_path):
    with cloud_process(tmp_path, "server.drain_s=0.5") as (process, port), socket.socket() as slow:
        slow.connect(("127.0.0.1", port))
        slow.sendall(b"POST /v1/probe HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        wait_for_two_in_flight(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "requests aborted" in (tmp_path / "cloud.err").read_text()
