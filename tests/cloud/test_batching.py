"""Batching, deadlines and the queue as clients see them, over both routes."""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

from midcut import wire
from midcut.testing import TorchExecutor
from midcut.types import TailRequest
from midcut.wire import oip
from midcut.wire.oip_tensors import encode_infer


class Held(TorchExecutor):
    """Waits until it may go on, so that others come in meanwhile."""

    def __init__(self):
        self.go_on = threading.Event()

    def run(self, segment):
        assert self.go_on.wait(60)
        with torch.inference_mode():
            return segment(), 0.02

    def close(self):
        pass


def gauges(url):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {
        line.split()[0]: float(line.split()[1])
        for line in lines
        if line.startswith(("midcut_cloud_", "midcut_requests_in"))
    }


def post(url, path, body, headers=None):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), response
    finally:
        connection.close()


def ask_paper(url, request):
    status, body, _ = post(url, wire.INFER_PATH, wire.encode_request(request))
    (value,) = wire.decode_values(wire.read_reply(body).values)
    return status, value.flatten().numpy()


def ask_binary(url, request):
    message = encode_infer(request)
    body = b"".join((message.header, *message.pieces))
    status, body, _ = post(url, oip.infer_path("tiny"), body, {oip.HEADER_LENGTH: str(len(message.header))})
    return status, np.frombuffer(body[-40:], dtype="<f4")


@pytest.mark.parametrize("ask", [ask_paper, ask_binary])
def test_many_clients_at_once_each_get_their_own_answer(running_cloud, tiny, tiny_model, ask):
    pictures = list(torch.randn(24, 1, 3, 16, 16, generator=torch.Generator().manual_seed(9)))
    names = [spec.name for spec in tiny.table.cuts[4].values]
    requests = [
        TailRequest("tiny", 4, tiny.table.fingerprint, tiny.head(4, (image,)), f"r{number}", names=names)
        for number, image in enumerate(pictures)
    ]
    executor = Held()
    with running_cloud(executor=executor, cloud_settings={"workers": 1, "batch_requests": 8}) as url:
        with ThreadPoolExecutor(12) as clients:
            answers = clients.map(lambda request: ask(url, request), requests)
            while gauges(url)["midcut_requests_in_flight"] < 13:  # these, and the one that asks
                time.sleep(0.01)
            executor.go_on.set()
            answers = list(answers)
        batches = gauges(url)
    assert batches["midcut_cloud_batch_requests_sum"] == 24
    assert batches["midcut_cloud_batch_requests_count"] <= 18  # the first twelve took six runs at most
    with torch.inference_mode():
        for (status, scores), image in zip(answers, pictures, strict=True):
            assert status == 200
            expected = tiny_model.module(image).flatten().numpy()
            np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_a_deadline_that_passes_is_answered_in_time(running_cloud, tiny, tiny_model):
    request = TailRequest(
        "tiny",
        4,
        tiny.table.fingerprint,
        tiny.head(4, tiny_model.example),
        "late",
        names=[spec.name for spec in tiny.table.cuts[4].values],
    )
    message = encode_infer(request, timeout_s=1.0)
    body = b"".join((message.header, *message.pieces))
    executor = Held()
    with running_cloud(executor=executor) as url:
        status, answer, _ = post(url, oip.infer_path("tiny"), body, {oip.HEADER_LENGTH: str(len(message.header))})
        executor.go_on.set()  # after the answer
    assert (status, json.loads(answer)) == (504, {"error": "the request's time was over before its tail was done"})
