"""NVIDIA's client sends the file of a picture, to a cloud and to an edge, good ones and hostile ones."""

from __future__ import annotations

import asyncio
import io
import os
import struct
import threading
import zlib
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

import midcut
from midcut.pictures import as_shown

triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http], of the extra dev")


@pytest.fixture(scope="module")
def pictured(tiny_model):
    """The tiny model with a preprocessing of pictures."""

    def preprocess(image):
        pixels = np.asarray(as_shown(image).convert("RGB").resize((16, 16)), dtype=np.float32)
        return torch.from_numpy(pixels.transpose(2, 0, 1)[None] / 255)

    return replace(tiny_model, preprocess=preprocess)


@pytest.fixture(scope="module")
def url(running_cloud, pictured):
    with running_cloud(models={"tiny": pictured}, max_batch=3, body_timeout_s=60.0) as url:
        yield url


@pytest.fixture
def client(url):
    with triton.InferenceServerClient(urlsplit(url).netloc) as client:
        yield client


def files_input(*files, name="x", shape=None):
    tensor = triton.InferInput(name, list(shape or (len(files),)), "BYTES")
    tensor.set_data_from_numpy(np.array(files, dtype=object).reshape(shape or (len(files),)))
    return [tensor]


def saved(image, file_format="JPEG", **options):
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def photo(size=(90, 60), seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))


def unsplit(model, *files):
    with torch.inference_mode():
        return torch.cat([model.module(model.preprocess(Image.open(io.BytesIO(file)))) for file in files]).numpy()


@pytest.mark.parametrize("name", ["x", "0"])
@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_a_jpeg_gets_the_answer_of_the_whole_model(client, pictured, name, shape):
    jpeg = saved(photo())
    result = client.infer("tiny", files_input(jpeg, name=name, shape=shape))
    assert np.array_equal(result.as_numpy("output"), unsplit(pictured, jpeg))


def test_a_batch_of_pictures(client, pictured):
    files = [saved(photo(seed=seed), kind) for seed, kind in enumerate(("JPEG", "PNG", "WEBP"))]
    result = client.infer("tiny", files_input(*files))
    assert np.allclose(result.as_numpy("output"), unsplit(pictured, *files), atol=1e-6)
    with pytest.raises(triton.InferenceServerException, match="4 pictures are over a batch of 3"):
        client.infer("tiny", files_input(*files, files[0]))


def test_an_edge_takes_pictures_too():
    jpeg = saved(photo())

    async def go():
        async with midcut.Edge(
            "model=mnist", "cuts.verify=false", "executor=native", "input.port=0", serve=True
        ) as edge:
            at = urlsplit(edge.url).netloc
            answer = await asyncio.to_thread(_ask_mnist, at, jpeg)
            expected = await edge.classify(jpeg)
            return answer, expected["result"].output

    answer, expected = asyncio.run(go())
    assert np.array_equal(answer, expected.numpy())


def _ask_mnist(at, jpeg):
    with triton.InferenceServerClient(at) as client:
        (described,) = client.get_model_metadata("mnist")["inputs"]
        (output,) = client.get_model_metadata("mnist")["outputs"]
        return client.infer("mnist", files_input(jpeg, name=described["name"])).as_numpy(output["name"])


def png_header(width, height, data=b""):
    """A PNG that promises pixels, with compressed zeros for some of them."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def hostile():
    jpeg = saved(photo())
    return {
        "a bomb of 2.5 billion pixels": (png_header(50_000, 50_000), "exceeds limit"),
        "a picture of 81 million pixels": (png_header(9_000, 9_000), "over the limit of 50000000"),
        "no picture": (b"MZ" + bytes(400), "not an image of a known format"),
        "nothing": (b"", "not an image of a known format"),
        "half a JPEG": (jpeg[: len(jpeg) // 2], "the image is broken"),
        "a PNG without pixels": (png_header(40, 40), "the image is broken"),
        "a format that is not read": (b"%PDF-1.7\n" + bytes(300), "not an image of a known format"),
        "an endless text chunk": (png_header(40, 40)[:33] + os.urandom(3000), "not an image of a known format"),
        "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image of a known format"),
    }


@pytest.mark.parametrize("kind", hostile())
def test_a_hostile_picture_is_refused_in_one_line(client, kind):
    data, part = hostile()[kind]
    with pytest.raises(triton.InferenceServerException) as caught:
        client.infer("tiny", files_input(data))
    assert caught.value.status() == "400"
    assert part in caught.value.message()
    assert "\n" not in caught.value.message()
    assert client.is_server_live()


def test_a_request_that_is_no_picture_for_a_whole_model_is_refused(client, cloud_url):
    jpeg = saved(photo())
    wrong_lengths = files_input(jpeg)
    wrong_lengths[0]._raw_data = b"\xff\xff\xff\x7f" + jpeg
    more = files_input(jpeg + b"abc")
    more[0]._raw_data = struct.pack("<I", len(jpeg)) + jpeg + b"abc"
    many = files_input(jpeg)
    many[0]._shape = [2]
    for part, arguments, keywords in [
        ("for the whole model, not for cut 4", ("tiny", files_input(jpeg)), {"parameters": {"cut": 4}}),
        ("for the whole model, not for cut 3", ("tiny@3", files_input(jpeg)), {}),
        ("takes 1 inputs, got 2", ("tiny", files_input(jpeg) * 2), {}),
        ("takes inputs 'x', got 'y'", ("tiny", files_input(jpeg, name="y")), {}),
        ("not 1 elements of BYTES", ("tiny", wrong_lengths), {}),
        ("not 1 elements of BYTES", ("tiny", more), {}),
        ("not 2 elements of BYTES", ("tiny", many), {}),
        ("other weights, graph or cuts", ("tiny", files_input(jpeg)), {"parameters": {"fingerprint": "f"}}),
        ("has no output 'z'", ("tiny", files_input(jpeg)), {"outputs": [triton.InferRequestedOutput("z")]}),
    ]:
        with pytest.raises(triton.InferenceServerException) as caught:
            client.infer(*arguments, **keywords)
        assert part in caught.value.message(), caught.value.message()
    as_json = triton.InferInput("x", [1], "BYTES")
    as_json.set_data_from_numpy(np.array([b"text"], dtype=object), binary_data=False)
    with pytest.raises(triton.InferenceServerException, match="must be sent as binary"):
        client.infer("tiny", [as_json])
    with (
        triton.InferenceServerClient(urlsplit(cloud_url).netloc) as tensors_only,
        pytest.raises(triton.InferenceServerException, match="takes tensors here, no pictures"),
    ):
        tensors_only.infer("tiny", files_input(jpeg))


def test_large_pictures_at_once_stay_within_the_budget_of_pixels(running_cloud, pictured):
    pixels_at_once, most, lock = 0, 0, threading.Lock()

    def preprocess(image):
        nonlocal pixels_at_once, most
        size = image.width * image.height
        with lock:
            pixels_at_once += size
            most = max(most, pixels_at_once)
        try:
            return pictured.preprocess(image)
        finally:
            with lock:
                pixels_at_once -= size

    model = replace(pictured, preprocess=preprocess)
    large = saved(Image.new("RGB", (2000, 1000), "red"), "PNG")
    with running_cloud(models={"tiny": model}, cloud_settings={"max_pixels": 4_500_000}, body_timeout_s=60.0) as url:

        def ask(_):
            with triton.InferenceServerClient(urlsplit(url).netloc) as client:
                return client.infer("tiny", files_input(large)).as_numpy("output")

        async def ask_all():
            return await asyncio.gather(*(asyncio.to_thread(ask, number) for number in range(8)))

        answers = asyncio.run(ask_all())
    assert all(np.array_equal(answer, answers[0]) for answer in answers)
    assert 0 < most <= 4_500_000
