"""NVIDIA's client against midcut's servers: nothing of ours on the asking side."""

from __future__ import annotations

from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http], of the extra dev")


@pytest.fixture
def client(cloud_url):
    with triton.InferenceServerClient(urlsplit(cloud_url).netloc) as client:
        yield client


@pytest.fixture(scope="module")
def whole(tiny_model):
    with torch.inference_mode():
        return tiny_model.module(*tiny_model.example).numpy()


def inputs_of(metadata, values, *, binary=True):
    inputs = []
    for described, value in zip(metadata["inputs"], values, strict=True):
        array = value.contiguous().numpy()
        tensor = triton.InferInput(described["name"], list(array.shape), described["datatype"])
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    return inputs


def test_health_and_metadata(client, tiny):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", tiny.table.fingerprint)
    assert not client.is_model_ready("other")
    assert not client.is_model_ready("tiny", "1")
    server = client.get_server_metadata()
    assert server["name"] == "midcut"
    assert "binary_tensor_data" in server["extensions"]
    assert client.get_model_metadata("tiny") == {
        "name": "tiny",
        "versions": [tiny.table.fingerprint],
        "platform": "midcut_torch",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3, 16, 16]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [1, 10]}],
    }
    assert [entry["shape"] for entry in client.get_model_metadata("tiny@4")["inputs"]] == [[1, 8, 16, 16]] * 2


@pytest.mark.parametrize("binary", [True, False])
def test_the_whole_model(client, tiny, tiny_model, whole, binary):
    metadata = client.get_model_metadata("tiny")
    name = metadata["outputs"][0]["name"]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary)]
    sent = inputs_of(metadata, tiny_model.example, binary=binary)
    result = client.infer("tiny", sent, outputs=outputs, request_id="abc")
    assert np.array_equal(result.as_numpy(name), whole)
    response = result.get_response()
    assert (response["id"], response["model_version"]) == ("abc", tiny.table.fingerprint)
    assert 0 <= response["parameters"]["compute_us"] <= response["parameters"]["server_us"]


@pytest.mark.parametrize("cut", range(10))
@pytest.mark.parametrize("by", ["alias", "parameter"])
def test_from_every_cut(client, tiny, tiny_model, whole, cut, by):
    metadata = client.get_model_metadata(f"tiny@{cut}")
    with torch.inference_mode():
        sent = inputs_of(metadata, tiny.head(cut, tiny_model.example))
    if by == "alias":
        result = client.infer(f"tiny@{cut}", sent)
    else:
        result = client.infer("tiny", sent, parameters={"cut": cut, "fingerprint": tiny.table.fingerprint})
    (output,) = metadata["outputs"]
    # A client that knows no dim order sends rows; another layout may change the last bits (README).
    assert np.allclose(result.as_numpy(output["name"]), whole, rtol=0, atol=1e-6)


def test_a_deadline_that_is_met(client, tiny, tiny_model):
    sent = inputs_of(client.get_model_metadata("tiny"), tiny_model.example)
    client.infer("tiny", sent, timeout=60_000_000, model_version=tiny.table.fingerprint)


def refused(client, *arguments, **keywords):
    with pytest.raises(triton.InferenceServerException) as caught:
        client.infer(*arguments, **keywords)
    return caught.value.status(), caught.value.message()


def test_errors_are_the_protocols(client, tiny_model):
    metadata = client.get_model_metadata("tiny")
    good = inputs_of(metadata, tiny_model.example)
    wrong_shape = inputs_of(metadata, [torch.zeros(1, 3, 16, 15)])
    wrong_name = [triton.InferInput("y", [1, 3, 16, 16], "FP32")]
    wrong_name[0].set_data_from_numpy(tiny_model.example[0].numpy())
    wrong_type = inputs_of({"inputs": [{"name": "x", "datatype": "FP64"}]}, [tiny_model.example[0].double()])
    for expected, part, arguments, keywords in [
        ("404", "no model 'vgg99' here; there are: tiny", ("vgg99", good), {}),
        ("404", "no model 'tiny@10'", ("tiny@10", good), {}),
        ("404", "no version '1' of model 'tiny'", ("tiny", good), {"model_version": "1"}),
        ("409", "other weights, graph or cuts", ("tiny", good), {"parameters": {"fingerprint": "f"}}),
        ("400", "cut 10 of 'tiny' is not offered", ("tiny", good), {"parameters": {"cut": 10}}),
        ("400", "the path says cut 3, parameter cut says 4", ("tiny@3", good), {"parameters": {"cut": 4}}),
        ("400", "codec 'mp3' is not accepted here; accepted: raw", ("tiny", good), {"parameters": {"codec": "mp3"}}),
        ("400", "expected [B, 3, 16, 16]", ("tiny", wrong_shape), {}),
        ("400", "takes inputs 'x', got 'y'", ("tiny", wrong_name), {}),
        ("400", "must be float32, got 'float64'", ("tiny", wrong_type), {}),
        ("400", "takes 1 inputs, got 2", ("tiny", good * 2), {}),
        ("400", "has no output 'z'", ("tiny", good), {"outputs": [triton.InferRequestedOutput("z")]}),
    ]:
        status, message = refused(client, *arguments, **keywords)
        assert (status, part in message) == (expected, True), message
    assert client.is_server_live()
