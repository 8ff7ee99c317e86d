"""Pictures cross the first cut as pictures, and come back bit for bit, whatever their normalisation was."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from midcut.edge.measured_codecs import typical_inputs
from midcut.errors import ConfigError, MalformedError
from midcut.serving.images import read_image
from midcut.types import Encoded, LoadedModel, ValueSpec
from midcut_codecs.config import JpegConfig, PngConfig, WebpConfig
from midcut_codecs.pictures import Jpeg, Png, Webp
from midcut_models.config import ImageSettings
from midcut_models.images import ImageReader

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def webp(**settings):
    return Webp(name="webp", **vars(WebpConfig(**settings)))


def png(**settings):
    return Png(name="png", **vars(PngConfig(**settings)))


def jpeg(**settings):
    return Jpeg(name="jpeg", **vars(JpegConfig(**settings)))


def picture(height=48, width=64, channels=3, seed=0):
    """A smooth picture with every level, normalised as torchvision does."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    noise = np.random.RandomState(seed).normal(0, 2, (height, width))
    planes = np.stack([x, y, (x + y) / 2], -1)[..., :channels] + noise[..., None]
    pixels = planes.clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    return ImageReader((channels, height, width), MEAN[:channels], STD[:channels], ImageSettings())(image)


def spec_of(value):
    return ValueSpec("x", "float32", tuple(value.shape))


def there_and_back(codec, value):
    encoded = codec.encode(value)
    received = Encoded((memoryview(bytearray(b"".join(encoded.data))),), encoded.parameters, encoded.dim_order)
    return encoded.size_bytes, codec.decode(received, spec_of(value))


@pytest.mark.parametrize("codec", [webp(), webp(effort=3), png(), png(level=9)], ids=lambda c: f"{c.name}{c.options()}")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_every_bit_comes_back_and_the_bytes_are_those_of_a_picture(codec, channels, batch):
    value = torch.cat([picture(160, 160, channels, seed) for seed in range(batch)])
    size, back = there_and_back(codec, value)
    assert torch.equal(back.view(torch.int32), value.view(torch.int32))
    assert back.stride() == value.stride()
    assert size < 0.3 * 4 * value.numel()


def test_what_crosses_is_a_file_that_any_viewer_opens():
    value = picture()
    data = b"".join(png().encode(value).data)
    length, kinds = struct.unpack("<I", data[:4])[0], data[4:7]
    image = Image.open(io.BytesIO(data[-length:]))
    assert (image.format, image.size, image.mode) == ("PNG", (64, 48), "RGB")
    levels = [torch.unique(value[0, channel]) for channel in range(3)]
    assert list(kinds) == [len(one) - 1 for one in levels]
    expected = torch.stack([torch.searchsorted(one, value[0, c].contiguous()) for c, one in enumerate(levels)], -1)
    assert np.array_equal(np.asarray(image), expected.numpy())


def files():
    """One photograph as its file would come from ten kinds of sources."""
    shown = Image.fromarray(np.asarray(_photograph(), np.uint8))
    grey = np.asarray(shown.convert("L"), np.uint16)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    transparent = shown.copy()
    transparent.putalpha(Image.linear_gradient("L").resize(shown.size))
    made = {
        "jpeg 4:2:0": (shown, "JPEG", {"subsampling": 2}),
        "jpeg 4:4:4": (shown, "JPEG", {"subsampling": 0}),
        "progressive jpeg": (shown, "JPEG", {"progressive": True}),
        "rotated jpeg": (shown, "JPEG", {"exif": rotated}),
        "png": (shown, "PNG", {}),
        "webp": (shown, "WEBP", {}),
        "grey": (shown.convert("L"), "PNG", {}),
        "16 bits": (Image.fromarray(grey * 257), "PNG", {}),
        "alpha": (transparent, "PNG", {}),
        "palette": (shown.quantize(64), "GIF", {}),
    }
    for name, (image, kind, options) in made.items():
        data = io.BytesIO()
        image.save(data, kind, **options)
        yield pytest.param(data.getvalue(), id=name)


def _photograph():
    """Edges, a gradient and noise, 300 x 260 pixels."""
    x, y = np.meshgrid(np.arange(300), np.arange(260))
    noise = np.random.RandomState(2).normal(0, 9, (260, 300, 3))
    discs = 90 * (((x % 70) - 35) ** 2 + ((y % 50) - 25) ** 2 < 300)
    return (np.stack([x * 0.6 + discs, y * 0.8, 160 - x * 0.3 + discs], -1) + noise).clip(0, 255)


@pytest.mark.parametrize("data", list(files()))
def test_a_file_of_any_kind_reaches_the_other_side_bit_for_bit(data):
    reader = ImageReader((3, 224, 224), MEAN, STD, ImageSettings())
    value = reader(read_image(data))
    for codec in (webp(), png()):
        size, back = there_and_back(codec, value)
        assert torch.equal(back.view(torch.int32), value.view(torch.int32))
        assert size < 0.3 * 4 * value.numel()


@pytest.mark.parametrize(
    "value",
    [
        torch.randn(1, 3, 32, 32),
        torch.full((1, 3, 32, 32), float("nan")),
        picture().double(),
        torch.relu(torch.randn(1, 64, 32, 32)),
        torch.randn(1, 3),
    ],
    ids=["noise", "nan", "float64", "features", "flat"],
)
@pytest.mark.parametrize("codec", [webp(), png()], ids=["webp", "png"])
def test_what_was_no_picture_crosses_as_it_is(codec, value):
    encoded = codec.encode(value)
    assert encoded.size_bytes == value.numel() * value.element_size()
    back = codec.decode(encoded, ValueSpec("x", str(value.dtype).removeprefix("torch."), tuple(value.shape)))
    assert back.numpy().tobytes() == value.numpy().tobytes()


@pytest.mark.parametrize("codec", [webp(), png()], ids=["webp", "png"])
def test_the_memory_layout_comes_back(codec):
    value = picture(64, 80)
    for laid_out in (
        value.contiguous(memory_format=torch.channels_last),
        value.transpose(2, 3),
        picture(64, 80, channels=1).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    ):
        size, back = there_and_back(codec, laid_out)
        assert torch.equal(back, laid_out)
        assert back.stride() == laid_out.stride()
        assert size < 2 * laid_out.numel()


@pytest.mark.parametrize("level", [0.0, -0.0, 1.5, -3.25, 1e-45])
def test_one_level_is_a_picture_too(level):
    value = torch.full((1, 3, 64, 64), level)
    size, back = there_and_back(webp(), value)
    assert torch.equal(back.view(torch.int32), value.view(torch.int32))
    assert size < 500


def test_zeros_with_and_without_a_sign_are_told_apart_or_sent_as_they_are():
    value = torch.zeros(1, 1, 32, 32)
    value[..., ::2] = -0.0
    _, back = there_and_back(png(), value)
    assert torch.equal(back.view(torch.int32), value.view(torch.int32))


def test_jpeg_is_near_and_small():
    value = picture(224, 224)
    size, back = there_and_back(jpeg(), value)
    assert size < 0.06 * 4 * value.numel()
    spread = value.amax((0, 2, 3)) - value.amin((0, 2, 3))
    assert ((back - value).abs().mean((0, 2, 3)) < 0.03 * spread).all()


def reply(kinds, table, file, length=None):
    return Encoded((struct.pack("<I", len(file) if length is None else length) + bytes(kinds) + table + file,))


def file_of(width, height, mode="L", kind="PNG", level=0):
    data = io.BytesIO()
    Image.new(mode, (width, height), level).save(data, kind)
    return data.getvalue()


TWO = struct.pack("<2f", 0.0, 1.0)


@pytest.mark.parametrize(
    ("encoded", "part"),
    [
        (reply([1], TWO, file_of(900, 900)), "900 x 900 pixels, expected are 32 x 32"),
        (reply([1], TWO, file_of(32, 32, kind="BMP")), "broken"),
        (reply([1], TWO, file_of(32, 32, level=7)), "value 7 of 2"),
        (reply([1], TWO, file_of(32, 32), length=5), "length"),
        (reply([200], TWO, file_of(32, 32)), "too few"),
        (reply([0], struct.pack("<2f", 0.0, float("inf")), file_of(32, 32)), "not finite"),
        (Encoded((b"",)), "too few"),
    ],
)
def test_a_strangers_picture_is_refused_before_it_is_decoded(encoded, part):
    with pytest.raises(MalformedError, match=part):
        png().decode(encoded, ValueSpec("x", "float32", (1, 1, 32, 32)))


@pytest.mark.parametrize(
    ("make", "key"),
    [(lambda: webp(effort=7), "effort"), (lambda: png(level=10), "level"), (lambda: jpeg(quality=0), "quality")],
)
def test_a_setting_out_of_range_is_named(make, key):
    with pytest.raises(ConfigError, match=rf"codec\.\w+\.{key} must be from"):
        make()


def test_sizes_are_measured_on_a_picture_that_is_like_photographs():
    read = ImageReader((3, 224, 224), MEAN, STD, ImageSettings())
    (value,) = typical_inputs(LoadedModel("m", torch.nn.Identity(), (torch.zeros(1, 3, 224, 224),), read, (), ""))
    # Four photographs: WebP 0.08 to 0.13, PNG 0.10 to 0.15, JPEG of quality 90 0.013 to 0.029 of float32.
    for codec, least, most in ((webp(), 0.08, 0.16), (png(), 0.1, 0.2), (jpeg(), 0.012, 0.05)):
        assert least < codec.encode(value).size_bytes / 602_112 < most


def test_a_model_that_takes_no_pictures_is_measured_on_its_example():
    def refuse(_):
        raise ValueError

    example = (torch.zeros(1, 7),)
    assert typical_inputs(LoadedModel("m", torch.nn.Identity(), example, refuse, (), "")) is example


def test_jpeg_sends_a_range_that_float32_cannot_hold_as_it_is():
    value = torch.full((1, 3, 32, 32), 3e38)
    value[..., ::2] = -3e38
    spec = ValueSpec("x", "float32", tuple(value.shape))
    assert torch.equal(jpeg().decode(jpeg().encode(value), spec), value)
