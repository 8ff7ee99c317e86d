"""The balancer configs that ship, with two clouds behind them and one of them killed under load.

Needs the Debian packages nginx and haproxy: `apt-get install nginx haproxy`.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from common.processes import free_port

from midcut import wire
from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.types import TailRequest

DEPLOY = Path(__file__).parents[2] / "tools" / "deploy"
CLIENTS = 4


def rewritten(name, folder, ports):
    """The config as it ships, on other ports."""
    text = (DEPLOY / name).read_text()
    for shipped, used in ports.items():
        text, count = re.subn(rf"127\.0\.0\.1:{shipped}\b", f"127.0.0.1:{used}", text)
        assert count
    (folder / name).write_text(text)
    return folder / name


def cloud(folder, port):
    command = [sys.executable, "-m", "midcut.cli", "cloud", "model=mnist", "cuts.verify=false", f"server.port={port}"]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=(folder / f"cloud{port}.log").open("w"),
        text=True,
        cwd=folder,
    )


def answers(port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if ask(port, "GET", "/v1/models")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("the balancer does not answer")


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@contextmanager
def balanced(name, folder):
    """Two clouds and the balancer; yields its port and the clouds."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    first, second, front = free_port(), free_port(), free_port()
    clouds = [cloud(folder, first), cloud(folder, second)]
    balancer = None
    try:
        for process in clouds:
            assert "ready on" in process.stdout.readline()
        if name == "nginx":
            config = rewritten("nginx.conf", folder, {8710: first, 8711: second, 8780: front})
            command = ["nginx", "-p", str(folder), "-c", str(config)]
        else:
            config = rewritten("haproxy.cfg", folder, {8710: first, 8711: second, 8781: front})
            command = ["haproxy", "-db", "-f", str(config)]
        balancer = subprocess.Popen(command, stderr=(folder / "balancer.log").open("w"), cwd=folder)
        answers(front)
        yield front, clouds
    finally:
        for process in [balancer, *clouds]:
            if process is not None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(60)


@pytest.fixture(scope="module")
def question():
    """A request at a cut in the middle of the MNIST net, and the unsplit model's answer to it."""
    from midcut_models.mnist import Mnist

    model = Mnist(name="mnist").load()
    cut_up = partition(model, CutSettings(verify=False))
    cut = cut_up.table.last // 2
    body = wire.encode_request(
        TailRequest("mnist", cut, cut_up.table.fingerprint, cut_up.head(cut, model.example), "balanced")
    )
    with torch.inference_mode():
        return body, model.module(*model.example)


class Load:
    """Clients that send requests over kept-alive connections and check every answer, until they are stopped."""

    def __init__(self, port, question):
        self._port = port
        self._body, self._expected = question
        self._stop = threading.Event()
        self.outcomes = Counter()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def wait_for_right(self, more):
        """Wait for so many more right answers, or any other."""
        enough, end = self.outcomes["right"] + more, time.monotonic() + 120
        while self.outcomes["right"] < enough and set(self.outcomes) <= {"right"}:
            assert time.monotonic() < end, self.outcomes
            time.sleep(0.05)

    def _ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._stop.is_set():
            try:
                connection.request("POST", wire.INFER_PATH, body=self._body)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.outcomes[f"{type(error).__name__}: {error}"] += 1
                continue
            self.outcomes[self._judged(response.status, body)] += 1
        connection.close()

    def _judged(self, status, body):
        if status != 200:
            return f"{status} {body[:200]!r}"
        (value,) = wire.decode_values(wire.read_reply(body).values)
        return "right" if torch.equal(value, self._expected) else "wrong"


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_one_of_two_clouds_is_killed_and_no_request_fails(name, tmp_path, question):
    with balanced(name, tmp_path) as (port, clouds):
        with Load(port, question) as load:
            load.wait_for_right(50)
            clouds[0].kill()
            load.wait_for_right(50)
        assert set(load.outcomes) == {"right"}, load.outcomes
        assert json.loads(ask(port, "POST", wire.INFER_PATH, b"{}")[1])["error"]  # refusals come through as they are
        assert ask(port, "POST", wire.PROBE_PATH, b"x" * 3_000_000)[0] == 200  # more than nginx takes by default


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_one_of_two_clouds_is_told_to_end_and_no_request_fails(name, tmp_path, question):
    with balanced(name, tmp_path) as (port, clouds):
        with Load(port, question) as load:
            load.wait_for_right(50)
            clouds[1].send_signal(signal.SIGTERM)
            assert clouds[1].wait(60) == 0
            load.wait_for_right(50)
        assert set(load.outcomes) == {"right"}, load.outcomes
