"""Images are bounded by what is made of them, not by their bytes."""

from __future__ import annotations

import asyncio
import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from midcut.errors import BusyError, MalformedError, OutOfMemoryError
from midcut.serving.images import PixelBudget, decode_batch, read_image
from midcut.types import LoadedModel
from midcut_models.config import ImageSettings
from midcut_models.images import ImageReader
from midcut_models.torchvision_shim import import_torchvision


def encoded(image, kind="PNG", **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


@pytest.mark.parametrize("size", [(4000, 1), (1, 4000), (30_000, 3), (2, 50_000)])
def test_a_thin_picture_makes_no_large_one(size, monkeypatch):
    made = []
    resize = Image.Image.resize

    def counted(image, size, *arguments, **more):
        made.append(size[0] * size[1])
        return resize(image, size, *arguments, **more)

    monkeypatch.setattr(Image.Image, "resize", counted)
    tensor = ImageReader((3, 224, 224), (0.0,), (1.0,), ImageSettings())(Image.new("RGB", size, "red"))
    assert tensor.shape == (1, 3, 224, 224)
    assert torch.equal(tensor[0, 0], torch.ones(224, 224))
    assert max(made) <= 16 * 224 * 224


@pytest.mark.parametrize("size", [(4000, 1), (1, 4000), (3, 9000)])
def test_torchvisions_transforms_get_the_middle_of_a_thin_picture(size):
    from midcut_models.centre_crop import middle
    from midcut_models.classification import _make_preprocess

    width, height = middle(Image.new("L", size)).size
    assert width * height <= 16 * min(size) ** 2
    transforms = import_torchvision().models.AlexNet_Weights.DEFAULT.transforms()
    ramp = Image.fromarray(np.tile(np.arange(90, dtype=np.uint8), (30, 1)))  # 90 x 30: as it was
    assert torch.equal(_make_preprocess(transforms)(ramp)[0], transforms(ramp.convert("RGB")))


async def test_small_images_pass_while_large_ones_wait():
    budget = PixelBudget(50_000_000, 60.0)
    order = []

    async def decode(name, pixels):
        give_back = await budget.take(pixels)
        order.append(name)
        await asyncio.sleep(0.05)
        give_back()

    async with asyncio.timeout(60):
        await asyncio.gather(
            decode("a", 50_000_000), decode("b", 40_000_000), decode("small", 784), decode("c", 10_000_000)
        )
    assert order == ["a", "small", "b", "c"]


async def test_an_image_that_waits_too_long_is_a_503_and_leaves_room():
    budget = PixelBudget(10_000_000, 0.02)
    give_back = await budget.take(10_000_000)
    with pytest.raises(BusyError, match="decodes 10000000 pixels already"):
        await budget.take(5_000_000)
    give_back()
    async with asyncio.timeout(60):
        await budget.take(10_000_000)


async def test_a_client_that_leaves_while_its_image_waits_leaves_room():
    budget = PixelBudget(10_000_000, 60.0)
    give_back = await budget.take(10_000_000)
    waiting = asyncio.create_task(budget.take(2_000_000))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    give_back()
    async with asyncio.timeout(60):
        await budget.take(10_000_000)


@pytest.mark.parametrize("files", [1, 2])
async def test_a_client_that_leaves_gives_its_pixels_back_when_its_thread_is_done(files):
    begun, go_on = threading.Event(), threading.Event()

    def preprocess(_):
        begun.set()
        assert go_on.wait(60)
        return torch.zeros(1, 3, 8, 8)

    budget = PixelBudget(2_000_000, 60.0)
    model = LoadedModel("slow", torch.nn.Flatten(), (torch.zeros(1, 3, 8, 8),), preprocess)
    client = asyncio.create_task(decode_batch(model, [encoded(Image.new("L", (2000, 1000)))] * files, budget))
    assert await asyncio.to_thread(begun.wait, 60)
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    next_one = asyncio.create_task(budget.take(2_000_000))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not next_one.done()
    go_on.set()
    async with asyncio.timeout(60):
        await next_one


def test_a_large_jpeg_is_decoded_small_and_looks_the_same():
    ramp = np.linspace(0, 255, 4000, dtype=np.uint8)
    image = Image.fromarray(np.broadcast_to(ramp, (3000, 4000)).copy())
    data = encoded(image.convert("RGB"), "JPEG", quality=95)
    small = read_image(data, shape=(1, 3, 224, 224))
    assert small.width < 4000
    assert min(small.size) >= 4 * 224 - 8
    whole = read_image(data)
    assert whole.size == (4000, 3000)
    at = [np.asarray(one.convert("L").resize((64, 64)), dtype=float) for one in (small, whole)]
    assert np.abs(at[0] - at[1]).mean() < 1.0


def test_a_bomb_is_refused_by_its_header():
    data = encoded(Image.new("1", (9000, 9000)))
    assert len(data) < 100_000
    with pytest.raises(MalformedError, match="9000 x 9000 pixels, over the limit"):
        read_image(data)


def test_no_memory_is_not_the_images_fault(monkeypatch):
    data = encoded(Image.new("RGB", (8, 8)))

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(OutOfMemoryError):
        read_image(data)
