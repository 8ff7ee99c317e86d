"""A picture's file crosses cut 0 as it came, and the answer is bit for bit that of the edge alone."""

from __future__ import annotations

import asyncio
import io
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest
import structlog
import torch
from PIL import Image

import midcut
from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.edge.picture_input import PictureInput
from midcut.errors import MalformedError
from midcut.serving.images import PixelBudget
from midcut.serving.reference_pictures import PictureInputs
from midcut.types import Observation, Placement

BOTH = ("model=mnist", "cuts.verify=false", "executor=native")  # a faster runtime differs in the last bits
PLAIN = (*BOTH, "telemetry=constant", "telemetry.constant.bandwidth_kbps=5000")
FILE = Placement(0, "file")
# A link and a cut with which files of 1 kB are the best.
SLOW = (
    "telemetry.constant.bandwidth_kbps=100",
    "codec.file.typical_kb=1",
    "calibration.enabled=false",
    "cuts.last_cut=0",
)


@pytest.fixture(autouse=True)
def one_thread(single_threaded):
    """The edge alone is the reference."""


def a_picture(seed, size):
    """Smooth colours with an edge, of any size."""
    x, y = np.meshgrid(*(np.linspace(0, 1, side) for side in size))
    waves = np.random.default_rng(seed).uniform(1, 9, (3, 2))
    pixels = np.stack([127 + 120 * np.sin(a * x + b * y) for a, b in waves], -1)
    pixels[: size[1] // 3, : size[0] // 4] = 255 - pixels[: size[1] // 3, : size[0] // 4]
    return Image.fromarray(pixels.astype(np.uint8))


def noise(side):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8))


def saved(image, file_format, **options):
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 8
    return exif


def with_alpha(image):
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def wide(image):
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


FORMATS = {
    "JPEG 4:2:0": lambda image: saved(image, "JPEG", subsampling=2),
    "JPEG 4:4:4": lambda image: saved(image, "JPEG", subsampling=0, quality=95),
    "JPEG progressive": lambda image: saved(image, "JPEG", progressive=True),
    "JPEG turned by EXIF": lambda image: saved(image, "JPEG", exif=turned()),
    "JPEG CMYK": lambda image: saved(image.convert("CMYK"), "JPEG"),
    "JPEG grey": lambda image: saved(image.convert("L"), "JPEG"),
    "PNG": lambda image: saved(image, "PNG"),
    "PNG 16 bits": lambda image: saved(wide(image), "PNG"),
    "PNG alpha": lambda image: saved(with_alpha(image), "PNG"),
    "PNG grey with alpha": lambda image: saved(with_alpha(image.convert("L")), "PNG"),
    "PNG of a palette, a colour transparent": lambda image: saved(image.quantize(30), "PNG", transparency=3),
    "PNG of 1 bit": lambda image: saved(image.convert("1"), "PNG"),
    "PNG of 16 bits, a level transparent": lambda image: saved(wide(image), "PNG", transparency=257 * 9),
    "WebP": lambda image: saved(image, "WEBP", quality=70),
    "WebP lossless": lambda image: saved(image, "WEBP", lossless=True),
    "WebP alpha": lambda image: saved(with_alpha(image), "WEBP", quality=60),
    "GIF": lambda image: saved(image.quantize(40), "GIF"),
    "TIFF": lambda image: saved(image, "TIFF", compression="tiff_lzw"),
}


def a_cloud():
    return midcut.Cloud(*BOTH, "server.port=0")


def an_edge(cloud, *overrides):
    return midcut.Edge(*PLAIN, f"cloud_url={cloud.url}", "codec=[file,webp,raw]", *overrides)


async def opened(edge, data):
    return await PictureInput.open(edge._edge.model, data, PixelBudget(50_000_000, None))


async def test_the_answer_is_that_of_the_edge_alone_for_every_kind_of_picture():
    async with a_cloud() as cloud, an_edge(cloud) as edge:
        engine = edge._edge.engine
        for number in range(60):
            make = list(FORMATS.values())[number % len(FORMATS)]
            data = make(a_picture(number, (40 + 7 * number, 30 + 5 * number)))
            here = await engine.infer(await opened(edge, data), placement=Placement(engine.partition.table.last))
            there = await engine.infer(await opened(edge, data), placement=FILE)
            assert (there.finished_by, there.fallback, there.codec) == ("cloud", "", "file")
            assert torch.equal(here.output, there.output)
            assert 0 < there.sent_bytes - len(data) < 1000


async def test_the_planner_chooses_by_the_bytes_of_the_file():
    async with (
        a_cloud() as cloud,
        an_edge(cloud, "codec=[file,raw]", "cuts.last_cut=0") as edge,
    ):
        small = saved(a_picture(1, (30, 30)), "JPEG", quality=20)
        large = saved(noise(300), "PNG")
        assert (await edge.classify(small))["result"].codec == "file"
        assert (await edge.classify(large))["result"].codec == "raw"
        (tensor,) = edge._edge.model.example
        assert (await edge.infer(tensor)).codec == "raw"  # a tensor stays a tensor
        with pytest.raises(MalformedError, match="did not come as one"):
            await edge.infer(tensor, cut=0, codec="file")


async def codecs_of(edge, *pictures):
    """The codecs with which pictures, and then a tensor, are answered."""
    results = [(await edge.classify(picture))["result"] for picture in pictures]
    results.append(await edge.infer(edge._edge.model.example[0]))
    return [result.codec for result in results]


@pytest.mark.parametrize("codec", ["[file,raw]", "[raw,file]"])
@pytest.mark.parametrize("how", ["engine.fallback=cloud", "cuts.last_cut=0"])
async def test_without_a_forecast_nothing_falls_back_onto_files(codec, how):
    blind = ("telemetry.constant.ping_ms=null", f"codec={codec}", how)
    picture = saved(a_picture(1, (30, 30)), "JPEG")
    async with a_cloud() as cloud, an_edge(cloud, *blind) as edge:
        assert edge._edge.engine.decision.forecast is None
        assert await codecs_of(edge, picture) == ["raw", "raw"]
        url = cloud.url
    async with midcut.Edge(*PLAIN, f"cloud_url={url}", *blind) as edge:  # the cloud is gone
        assert await codecs_of(edge, picture, picture, picture) == ["raw"] * 4
        assert set(edge._edge.engine.parts.clouds.states().values()) != {"closed"}  # it learns of that


async def test_files_that_are_held_are_for_pictures_that_both_sides_decode_alike(monkeypatch):
    pictures = [saved(a_picture(1, (30, 30)), file_format) for file_format in ("JPEG", "PNG")]
    settings = ("codec=[file,raw]", "engine.fallback=hold", *SLOW)
    async with a_cloud() as cloud:
        differing(monkeypatch, ("PNG",))
        async with an_edge(cloud, *settings) as edge:
            parts = edge._edge.engine.parts
            assert parts.planning.decision.placement == FILE
            monkeypatch.setattr(parts.hub, "observe", Observation)  # all telemetry is lost
            await parts.planning.step()
            assert (parts.planning.decision.placement, parts.planning.decision.forecast) == (FILE, None)
            assert await codecs_of(edge, *pictures) == ["file", "raw", "raw"]


async def test_a_planner_that_picks_nothing_for_one_request_costs_no_answer():
    small, large = saved(a_picture(1, (30, 30)), "JPEG", quality=20), saved(noise(200), "JPEG")
    strict = ("planner=epsilon_constraint", "planner.strict=true", "planner.max_latency_s=0.2")
    async with a_cloud() as cloud, an_edge(cloud, "codec=[file,raw]", *strict, *SLOW) as edge:
        assert edge._edge.engine.decision.placement == FILE
        assert await codecs_of(edge, small, large) == ["file", "raw", "raw"]


async def test_a_broken_picture_is_the_clients_fault_and_the_cloud_stays_in_use():
    async with a_cloud() as cloud, an_edge(cloud) as edge:
        engine = edge._edge.engine
        data = saved(a_picture(2, (90, 70)), "PNG")
        for _ in range(5):
            with pytest.raises(MalformedError, match="the image is broken"):
                await engine.infer(await opened(edge, data[: len(data) // 2]), placement=FILE)
        assert (await engine.infer(await opened(edge, data), placement=FILE)).finished_by == "cloud"


async def test_a_cloud_that_is_gone_leaves_the_picture_to_the_edge():
    async with a_cloud() as cloud:
        edge = an_edge(cloud)
        await edge.__aenter__()
    engine = edge._edge.engine
    data = saved(a_picture(3, (50, 40)), "JPEG")
    left = await engine.infer(await opened(edge, data), placement=FILE)
    alone = await engine.infer(await opened(edge, data), placement=Placement(engine.partition.table.last))
    assert (left.finished_by, bool(left.fallback)) == ("edge", True)
    assert torch.equal(left.output, alone.output)
    await edge.__aexit__()


def differing(monkeypatch, formats):
    """Let this process decode some formats differently from now on; what a cloud has found out before stays."""
    find = PictureInputs.digests.func
    other = cached_property(lambda self: find(self) | dict.fromkeys(formats or find(self), "another decoder"))
    other.__set_name__(PictureInputs, "digests")
    monkeypatch.setattr(PictureInputs, "digests", other)


async def test_a_format_that_the_cloud_decodes_differently_is_sent_as_pixels(monkeypatch):
    async with a_cloud() as cloud:
        differing(monkeypatch, ["JPEG"])
        with structlog.testing.capture_logs() as logs:
            async with an_edge(cloud, "codec=[file,raw]", "cuts.last_cut=0") as edge:
                picture = a_picture(4, (40, 30))
                assert (await edge.classify(saved(picture, "JPEG", quality=20)))["result"].codec == "raw"
                assert (await edge.classify(saved(picture.quantize(4), "PNG")))["result"].codec == "file"
    warned = [line for line in logs if "decodes some formats differently" in line["event"]]
    assert [line["formats"] for line in warned] == ["JPEG"]


async def test_a_cloud_that_decodes_every_format_differently_gets_tensors(monkeypatch):
    async with a_cloud() as cloud:
        differing(monkeypatch, [])
        async with an_edge(cloud, "codec=[file,raw]", "cuts.last_cut=0") as edge:
            result = (await edge.classify(saved(a_picture(5, (40, 30)), "PNG")))["result"]
            assert (result.codec, result.finished_by) == ("raw", "cloud")


@pytest.mark.parametrize(
    ("taken", "sent_as"), [("[file,webp,raw]", "webp"), ("[file,raw]", "raw"), ("[file,int8-zstd,raw]", "raw")]
)
async def test_a_second_cloud_that_takes_no_files_gets_what_it_takes_when_the_first_is_gone(
    monkeypatch, taken, sent_as
):
    async with AsyncExitStack() as clouds:
        first = await a_cloud().__aenter__()
        with monkeypatch.context() as patch:
            differing(patch, [])
            second = await clouds.enter_async_context(a_cloud())
        urls = f"cloud_url=[{first.url},{second.url}]"
        async with midcut.Edge(*PLAIN, urls, f"codec={taken}", "cuts.last_cut=0") as edge:
            engine, data = edge._edge.engine, saved(a_picture(6, (80, 60)), "JPEG", quality=30)
            before = await engine.infer(await opened(edge, data))
            assert (before.codec, before.finished_by, before.fallback) == ("file", "cloud", "")
            await first.__aexit__()
            after = await engine.infer(await opened(edge, data), placement=FILE)
            assert (after.finished_by, after.fallback) == ("cloud", "")
            assert torch.equal(before.output, after.output)
            (spec,) = engine.partition.table.cuts[0].values
            assert (after.sent_bytes < spec.payload_bytes) == (sent_as == "webp")
            with pytest.raises(MalformedError, match="the image is broken"):
                await engine.infer(await opened(edge, data[: len(data) // 2]), placement=FILE)
            async with asyncio.timeout(60):  # planning follows the cloud in use
                while (await engine.infer(await opened(edge, data))).codec == "file":
                    pass


def test_the_digests_notice_another_decoder_and_another_preprocessing():
    (component,) = build_each(Kind.MODEL, compose("cloud", ["model=mnist"]).model).values()
    model = component.load()
    digests = PictureInputs(model).digests
    assert {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"} <= digests.keys()
    assert PictureInputs(model).digests == digests
    sharper = replace(model, preprocess=lambda image: model.preprocess(image) * 1.0001)
    assert not set(digests.values()) & set(PictureInputs(sharper).digests.values())
    chopped = replace(model, preprocess=lambda image: model.preprocess(image)[..., :-1])
    assert PictureInputs(chopped).digests == {}
