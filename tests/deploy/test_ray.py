"""The cloud on Ray Serve. Needs the extra `ray` (Linux, about 400 MB): `pip install 'midcut[ray]'`."""

from __future__ import annotations

import http.client
import importlib.util
import json
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from common.processes import free_port

from midcut import wire
from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.types import TailRequest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: the extra `ray`"),
]
STARTS_S = 120.0


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder, chosen = tmp_path_factory.mktemp("ray"), free_port()
    (folder / "token").write_text("let-me-in")
    given = ["model=mnist", "cuts.verify=false", "cloud.batch_requests=4", f"server.token_file={folder / 'token'}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "midcut.cloud.on_ray", "--port", str(chosen), *given],
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + STARTS_S
            while ask(chosen, "GET", "/v2/health/ready")[0] != 200:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.5)
            yield chosen
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(60)


def ask(port, method, path, body=None, token=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body=body, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return response.status, response.read(), response
    except OSError:
        return 0, b"", None
    finally:
        connection.close()


def test_the_same_wire_bit_for_bit(port):
    from midcut_models.mnist import Mnist

    model = Mnist(name="mnist").load()
    cut_up = partition(model, CutSettings(verify=False))
    with torch.inference_mode():
        expected = model.module(*model.example)
    for cut in (0, 3, cut_up.table.last - 1):
        request = TailRequest("mnist", cut, cut_up.table.fingerprint, cut_up.head(cut, model.example), "by-ray")
        status, body, _ = ask(port, "POST", wire.INFER_PATH, wire.encode_request(request), "let-me-in")
        assert status == 200
        (value,) = wire.decode_values(wire.read_reply(body).values)
        assert torch.equal(value, expected)


def test_refusals_and_metadata_are_the_clouds_own(port):
    assert json.loads(ask(port, "GET", "/v2/models/mnist", token="let-me-in")[1])["name"] == "mnist"
    status, body, response = ask(port, "GET", "/v2/models/mnist")
    assert (status, response.getheader("WWW-Authenticate")) == (401, 'Bearer realm="midcut"')
    assert "token" in json.loads(body)["error"]
    status, body, _ = ask(port, "POST", wire.INFER_PATH, b"{}", "let-me-in")
    assert (status, "missing required field" in json.loads(body)["error"]) == (400, True)
    assert ask(port, "GET", "/v1/nothing?at=all", token="let-me-in")[0] == 404
    assert b"midcut_requests_total" in ask(port, "GET", "/metrics", token="let-me-in")[1]


def test_names_arrive_as_they_were_sent(port):
    status, body, _ = ask(port, "GET", "/v2/models/a%2Fb%20c", token="let-me-in")
    assert (status, "no model 'a/b c' here" in json.loads(body)["error"]) == (404, True)
    assert json.loads(ask(port, "GET", "/v2/models/m%6Eist?x=%2F", token="let-me-in")[1])["name"] == "mnist"


def test_a_body_over_the_limit_is_refused_before_it_is_there(port):
    header = (
        f"POST {wire.INFER_PATH} HTTP/1.1",
        "Host: cloud",
        "Authorization: Bearer let-me-in",
        "Content-Type: application/json",
        "Content-Length: 20000000000",
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join((*header, "", "begun")).encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
