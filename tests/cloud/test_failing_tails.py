"""A tail fails: whether the request is to blame, or the cloud, which edges then leave alone."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest
import torch

from midcut import wire
from midcut.testing import TorchExecutor
from midcut.types import TailRequest


class Failing(TorchExecutor):
    """An executor whose tails all fail in one way."""

    def __init__(self, fail):
        self._fail = fail

    def run(self, segment):  # noqa: ARG002
        self._fail()

    def close(self):
        pass


def raising(error):
    def fail():
        raise error

    return fail


@pytest.fixture
def answered(running_cloud, tiny, tiny_model):
    """What a cloud answers whose tails fail: status, Retry-After, why."""

    def ask(fail):
        with torch.inference_mode():
            request = TailRequest("tiny", 4, tiny.table.fingerprint, tiny.head(4, tiny_model.example), "abc")
        with running_cloud(executor=Failing(fail)) as url:
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
            try:
                connection.request("POST", wire.INFER_PATH, wire.encode_request(request))
                response = connection.getresponse()
                return response.status, response.getheader("Retry-After"), json.loads(response.read())["error"]
            finally:
                connection.close()

    return ask


def test_values_that_a_tail_does_not_run_on_are_a_400(answered):
    status, retry_after, why = answered(raising(IndexError("index 7 is out of bounds\nfor dimension 0")))
    assert (status, retry_after) == (400, None)
    assert why.endswith("index 7 is out of bounds for dimension 0")


def test_a_cloud_without_memory_says_so(answered):
    status, retry_after, why = answered(lambda: torch.empty(2**50))
    assert (status, retry_after) == (503, "1")
    assert why.startswith("the tail from cut 4 ran out of memory: ")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"),
        RuntimeError("HIP error: unspecified launch failure"),
        torch.AcceleratorError("the device went away"),
    ],
)
def test_a_device_that_fails_is_not_the_requests_fault(answered, error):
    status, retry_after, why = answered(raising(error))
    assert (status, retry_after) == (503, "1")
    assert why == f"the device failed in the tail from cut 4: {' '.join(str(error).split())}"
