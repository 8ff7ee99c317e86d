from __future__ import annotations

import asyncio
import io
import json
import struct
import zlib
from contextlib import asynccontextmanager

import aiohttp
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from midcut import wire
from midcut.config.settings import InputServer
from midcut.edge.frontend.server import make_app
from midcut.errors import MalformedError
from midcut.serving import serve
from midcut.serving.images import read_image
from midcut.testing import LoopbackTransport


@pytest.fixture
def edge(make_engine, tiny_model):
    """`async with edge() as ask`: a listening edge; ask(method, path, data, type) -> (status, answer)."""

    @asynccontextmanager
    async def start(transport=None, codecs=(), **chosen):
        engine = make_engine(transport, codecs)
        settings_ = InputServer(**{"port": 0} | chosen)
        bound, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
        await engine.start()
        task = asyncio.create_task(serve(make_app(engine, tiny_model, settings_), settings_, bound.set_result, stop))
        async with aiohttp.ClientSession(await bound, timeout=aiohttp.ClientTimeout(total=60)) as session:

            async def ask(method, path, data=None, kind="image/png"):
                async with session.request(method, path, data=data, headers={"Content-Type": kind}) as response:
                    return response.status, await response.json()

            yield ask
        stop.set()
        await task
        await engine.close()

    return start


async def test_an_image_is_answered_with_class_timings_and_cut(edge, images, expected_class):
    data = images(1)
    async with edge() as ask:
        status, answer = await ask("POST", "/v1/infer", data)
    assert status == 200
    assert answer["class"] == expected_class(data)
    assert answer["label"] == f"label {answer['class']}"
    assert (answer["cut"], answer["finished_by"], answer["fallback"]) == (4, "cloud", "")
    timings = answer["timings"]
    assert timings["edge_s"] + timings["link_s"] + timings["cloud_s"] <= timings["latency_s"]
    assert answer["cost_usd"] == pytest.approx(timings["edge_s"] + 2 * timings["cloud_s"])
    # The forecast's row for cut 4, as the fixture scripted it: 1 + 2 + 3 ms, 1 ms + 2 * 3 ms in dollars.
    assert answer["predicted"]["latency_s"] == pytest.approx(0.006)
    assert answer["predicted"]["cost_usd"] == pytest.approx(0.007)
    assert len(answer["request_id"]) == 32


async def test_the_five_most_likely_are_in_order_and_probabilities(edge, images):
    async with edge() as ask:
        _, answer = await ask("POST", "/v1/infer", images(2))
    likely = [entry["probability"] for entry in answer["top5"]]
    assert likely == sorted(likely, reverse=True)
    assert 0.0 < sum(likely) <= 1.0
    assert answer["top5"][0]["class"] == answer["class"]


async def test_tensors_in_and_values_out_are_bit_for_bit_the_model(edge, tiny_model):
    body = json.dumps({"values": json.loads(wire.encode_reply("x", tiny_model.example, 0, 0))["values"]})
    async with edge() as ask:
        status, answer = await ask("POST", "/v1/infer?values=1", body, "application/json")
    assert status == 200
    reply = {"request_id": "x", "values": answer["values"], "compute_s": 0, "server_s": 0}
    (output,) = wire.decode_values(wire.read_reply(json.dumps(reply).encode()).values)
    with torch.inference_mode():
        assert torch.equal(output, tiny_model.module(*tiny_model.example))


async def test_without_a_cloud_it_answers_all_the_same_and_says_why(edge, tiny, images, expected_class):
    transport = LoopbackTransport(tiny)
    transport.up = False
    data = images(3)
    async with edge(transport) as ask:
        status, answer = await ask("POST", "/v1/infer", data)
    assert status == 200
    assert answer["class"] == expected_class(data)
    assert (answer["finished_by"], answer["fallback"]) == ("edge", "the loopback cloud is switched off")


async def test_health_and_the_current_decision(edge):
    async with edge() as ask:
        assert await ask("GET", "/health") == (200, {"status": "ok", "model": "tiny", "cut": 4})
        status, decision = await ask("GET", "/v1/decision")
    assert status == 200
    assert (decision["cut"], decision["weight"]) == (4, 0.25)
    assert [row["cut"] for row in decision["forecast"]] == [4, 9]
    assert decision["observation"]["ping_ms"] == 1.0


def oip_body(tiny_model, **changes):
    (x,) = tiny_model.example
    one = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.flatten().tolist()}
    return json.dumps({"id": "abc", "inputs": [one]} | changes)


async def test_the_open_inference_protocol_in_and_out_is_the_model_bit_for_bit(edge, tiny, tiny_model):
    async with edge() as ask:
        status, answer = await ask("POST", "/v2/models/tiny/infer", oip_body(tiny_model))
        _, metadata = await ask("GET", "/v2/models/tiny")
        assert await ask("GET", "/v2/health/ready") == (200, {"ready": True})
    assert status == 200
    assert (answer["model_version"], answer["id"]) == (tiny.table.fingerprint, "abc")
    assert (answer["parameters"]["cut"], answer["parameters"]["finished_by"]) == (4, "cloud")
    assert 0 < answer["parameters"]["compute_us"] <= answer["parameters"]["server_us"]
    (output,) = answer["outputs"]
    assert (output["name"], output["shape"]) == (metadata["outputs"][0]["name"], [1, 10])
    with torch.inference_mode():
        assert torch.equal(torch.tensor(output["data"]).reshape(1, 10), tiny_model.module(*tiny_model.example))


async def test_more_requests_than_it_takes_in_are_told_to_come_back(edge, held_cloud, tiny, tiny_model, images):
    async with edge(held_cloud, max_requests=2) as ask:
        taken = [asyncio.create_task(ask("POST", "/v1/infer", images(seed))) for seed in (1, 2)]
        for _ in taken:
            await held_cloud.reached.acquire()
        refused = [
            await ask("POST", "/v1/infer", images(3)),
            await ask("POST", f"/v2/models/{tiny.table.model}/infer", oip_body(tiny_model), "application/json"),
        ]
        assert (await ask("GET", "/health"))[0] == 200
        held_cloud.go_on.set()
        assert [(await one)[0] for one in taken] == [200, 200]
        assert (await ask("POST", "/v1/infer", images(3)))[0] == 200
    told = "this edge is busy: 2 requests are under way (input.max_requests)"
    assert [(status, answer["error"]) for status, answer in refused] == [(503, told)] * 2


async def test_who_is_slow_to_send_keeps_nobody_out(edge, images):
    async def slowly():
        yield b"-"
        await asyncio.sleep(20)

    async with edge(max_requests=1) as ask:
        slow = [asyncio.create_task(ask("POST", "/v1/infer", slowly())) for _ in range(6)]
        await asyncio.sleep(0.2)
        assert (await ask("POST", "/v1/infer", images(1)))[0] == 200
        for one in slow:
            one.cancel()


@pytest.mark.parametrize(
    ("path", "changes", "status", "part"),
    [
        ("/v2/models/tiny@4/infer", {}, 404, "no model 'tiny@4' here; there is tiny"),
        ("/v2/models/tiny/versions/1/infer", {}, 404, "no version '1'"),
        ("/v2/models/tiny/infer", {"parameters": {"cut": 4}}, 400, "the edge picks the cut itself"),
        ("/v2/models/tiny/infer", {"parameters": {"fingerprint": "f"}}, 409, "not 'f'"),
        ("/v2/models/tiny/infer", {"parameters": {"codec": "int8"}}, 400, "codec 'int8' is not accepted here"),
        ("/v2/models/tiny/infer", {"inputs": []}, 400, "takes 1 inputs, got 0"),
    ],
)
async def test_what_the_edge_does_not_take_by_the_protocol(edge, tiny_model, path, changes, status, part):
    async with edge() as ask:
        got, answer = await ask("POST", path, oip_body(tiny_model, **changes))
    assert (got, part in answer["error"]) == (status, True), answer


def bomb(width, height):
    """A few hundred bytes that claim to be an image of any size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\x00" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "kind", "status", "part"),
    [
        (b"", "image/png", 400, "not an image of a known format"),
        (b"hello", "image/jpeg", 400, "not an image of a known format"),
        (b"\x89PNG\r\n\x1a\n", "image/png", 400, "image"),
        (bomb(20, 20)[:-30], "image/png", 400, "broken"),
        (bomb(30_000, 30_000), "image/png", 400, "pixels"),
        (bomb(9_000, 9_000), "image/png", 400, "9000 x 9000 pixels, over the limit of 50000000"),
        (b"%PDF-1.7", "image/png", 400, "not an image of a known format"),
        (b"{}", "application/json", 400, "missing required field `values`"),
        (b"[" * 100_000, "application/json", 400, "JSON"),
        (b'{"values":[]}', "application/json", 400, "takes 1 values, got 0"),
        (b'{"values":[1]}', "application/json", 400, "inputs are tensors"),
        (b"x=1", "application/x-www-form-urlencoded", 415, "Content-Type must be image/"),
        (b"x" * 33_000_000, "image/png", 413, "limit of 32000000 bytes"),
    ],
)
async def test_a_bad_input_is_refused_in_one_line(edge, data, kind, status, part):
    async with edge() as ask:
        got, answer = await ask("POST", "/v1/infer", data, kind)
        assert (await ask("GET", "/health"))[0] == 200
    assert got == status, answer
    assert part in answer["error"]
    assert "\n" not in answer["error"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_an_input(tiny_model, mode):
    out = io.BytesIO()
    Image.new(mode, (30, 20)).save(out, format="TIFF")
    assert tiny_model.preprocess(read_image(out.getvalue())).shape == (1, 3, 16, 16)


def test_a_photo_taken_sideways_is_turned_upright():
    image = Image.new("RGB", (4, 2), "red")
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    out = io.BytesIO()
    image.save(out, format="JPEG", exif=exif)
    assert read_image(out.getvalue()).size == (2, 4)


@settings(max_examples=200)
@given(cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8))
def test_a_damaged_image_is_read_or_refused(images, cut, flips):
    data = bytearray(images(7, format="JPEG"))
    for position, byte in flips:
        data[position % len(data)] = byte
    try:
        read_image(data[: len(data) - cut])
    except MalformedError as error:
        assert "\n" not in str(error)  # noqa: PT017 - or it is read


async def test_a_request_may_be_run_at_another_cut_to_compare(edge, images, expected_class):
    data = images(4)
    async with edge() as ask:
        _, chosen = await ask("POST", "/v1/infer", data)
        status, forced = await ask("POST", "/v1/infer?cut=9", data)
        refused = [await ask("POST", f"/v1/infer?cut={cut}", data) for cut in ("x", "-1", "99", "1234567")]
    assert (chosen["cut"], status, forced["cut"]) == (4, 200, 9)
    assert forced["class"] == chosen["class"] == expected_class(data)
    assert forced["predicted"]["cut"] == 9
    assert [status for status, _ in refused] == [400] * 4
    assert "cut 99 is not on offer; the cuts are" in refused[2][1]["error"]


async def test_a_codec_that_the_edge_does_not_have_is_refused_before_anything_is_computed(edge, images):
    data = images(4)
    async with edge(codecs=("float16",)) as ask:
        status, refused = await ask("POST", "/v1/infer?cut=4&codec=gzip", data)
        taken = [await ask("POST", f"/v1/infer?cut=4&codec={name}", data) for name in ("raw", "base64", "float16")]
    assert (status, refused["error"]) == (
        400,
        "codec 'gzip' is not on offer; the codecs are raw, base64, float16",
    )
    assert [(status, answer["codec"]) for status, answer in taken] == [
        (200, one) for one in ("raw", "base64", "float16")
    ]
