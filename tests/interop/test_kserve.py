"""KServe's client against midcut's cloud, and midcut's transport against KServe's server."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from common.processes import free_port

from midcut.errors import CloudRefusedError
from midcut.types import TailRequest
from midcut_transports.http import HttpTransport

kserve = pytest.importorskip("kserve", reason="needs kserve, of the extra interop")


@pytest.fixture
def client():
    return kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", retries=0, timeout=60))


async def test_health_of_midcut(client, cloud_url):
    assert await client.is_server_live(cloud_url)
    assert await client.is_server_ready(cloud_url)
    assert await client.is_model_ready(cloud_url, "tiny")
    assert not await client.is_model_ready(cloud_url, "other")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("cut", [0, 5, 8])
async def test_inference_by_midcut(client, cloud_url, tiny, tiny_model, cut, binary):
    with torch.inference_mode():
        whole = tiny_model.module(*tiny_model.example).numpy()
        payload = tiny.head(cut, tiny_model.example)
    sent = []
    for spec, value in zip(tiny.table.cuts[cut].values, payload, strict=True):
        sent.append(kserve.InferInput(spec.name, list(value.shape), "FP32"))
        sent[-1].set_data_from_numpy(value.contiguous().numpy(), binary_data=binary)
    name = f"tiny@{cut}" if cut else "tiny"
    request = kserve.InferRequest(name, sent, request_id="k1", parameters={"binary_data_output": binary})
    response = await client.infer(cloud_url, request, model_name=name)
    assert response.id == "k1"
    assert np.allclose(response.outputs[0].as_numpy(), whole, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def kserve_url(tmp_path_factory):
    """KServe's ModelServer in a process of its own."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("kserve_doubler.py")), str(port)]
    log = tmp_path_factory.mktemp("kserve") / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent, env=os.environ)
    try:
        deadline = time.monotonic() + 240
        while not _ready(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(60)


def _ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/v2/models/doubler/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


async def ask(url, *requests, **settings):
    transport = HttpTransport(url, 20.0, 5.0, **settings)
    await transport.open()
    try:
        return [await transport.infer(request) for request in requests]
    finally:
        await transport.close()


async def test_a_whole_model_on_kserves_server(kserve_url):
    x = torch.arange(12, dtype=torch.float32).reshape(3, 4).t()  # in another layout than the usual one
    request = TailRequest("doubler", 0, "", [x], "r1", names=["x"])
    for reply in await ask(kserve_url, request, request, plain=True):
        doubled, sums = reply.values
        assert torch.equal(doubled, x * 2)
        assert torch.equal(sums, x.sum(dim=1))
        assert (reply.compute_s, reply.server_s) == (0.0, 0.0)  # this server tells none


async def test_what_kserves_server_refuses_is_refused(kserve_url):
    request = TailRequest("other", 0, "", [torch.zeros(1, 4)], "r2", names=["x"])
    with pytest.raises(CloudRefusedError, match="the cloud says 404") as caught:
        await ask(kserve_url, request, plain=True)
    assert caught.value.http_status == 404


async def test_a_cut_is_not_sent_to_a_server_that_knows_none(kserve_url):
    request = TailRequest("doubler", 3, "", [torch.zeros(1, 4)], "r3", names=["x"])
    with pytest.raises(CloudRefusedError, match="runs whole models, cut 0, not cut 3"):
        await ask(kserve_url, request, plain=True)


async def test_without_plain_a_server_that_tells_no_fingerprint_is_not_believed(kserve_url):
    request = TailRequest("doubler", 0, "f", [torch.zeros(1, 4)], "r4", names=["x"])
    with pytest.raises(CloudRefusedError, match="not 'f'"):
        await ask(kserve_url, request)
