"""Pictures of every mode, against values computed by hand and, where it is installed, against ImageMagick."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from midcut.errors import ConfigError, MalformedError
from midcut.pictures import as_shown
from midcut_models.config import Fit, ImageSettings, Interpolation
from midcut_models.images import ImageReader

RAMP = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
COLOURS = np.dstack([RAMP, RAMP.T, 255 - RAMP])
WIDE = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
GREY, PHOTO = Image.fromarray(RAMP), Image.fromarray(COLOURS)
ALPHA = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1)))


def with_alpha(image, alpha=ALPHA):
    image = image.copy()
    image.putalpha(alpha)
    return image


def as_lab(image):
    profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
    return ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))


@pytest.mark.parametrize(
    ("pixel", "mode", "shown"),
    [
        ((10, 20, 30), "RGB", (10, 20, 30)),
        ((10, 20, 30, 255), "RGBA", (10, 20, 30)),
        ((10, 20, 30, 0), "RGBA", 255),
        ((100, 0, 0, 51), "RGBA", (224, 204, 204)),
        ((20, 0, 0, 51), "RGBa", (224, 204, 204)),  # colours multiplied by alpha already
        ((100, 51), "LA", 224),
        ((0, 255, 255, 0), "CMYK", (255, 0, 0)),
        ((76, 85, 255), "YCbCr", (254, 0, 0)),
        ((85, 255, 255), "HSV", (0, 255, 0)),
        (200, "L", 200),
        (255, "1", 255),
        (32896, "I;16", 128),
        (65535, "I;16", 255),
        (32896, "I;16B", 128),
        (32896, "I", 128),
        (0.5, "F", 128),
        (1.0, "F", 255),
    ],
)
def test_a_pixel_of_each_mode_by_hand(pixel, mode, shown):
    assert as_shown(Image.new(mode, (2, 2), pixel)).getpixel((1, 1)) == shown


@pytest.mark.parametrize("mode", Image.MODES)
def test_every_mode_that_pillow_has_is_shown_or_refused(mode):
    assert as_shown(Image.new(mode, (3, 2))).mode in ("L", "RGB")


def test_lab_comes_back_as_the_colours_it_was_made_of():
    back = np.asarray(as_shown(as_lab(PHOTO))).astype(int)
    assert np.abs(back - COLOURS).mean() < 1.5


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("I", (2, 2), 70_000), "pixels from 70000 to 70000 have no agreed black and white"),
        (Image.new("I", (2, 2), -1), "save the picture with 8 or 16 bits"),
        (Image.new("F", (2, 2), 255.0), "scale them to 0..1"),
        (Image.new("F", (2, 2), float("nan")), "scale them to 0..1"),
        (Image.new("F", (2, 2), -0.5), "scale them to 0..1"),
    ],
)
def test_pixels_without_an_agreed_range_are_refused(image, words):
    with pytest.raises(MalformedError, match=words):
        as_shown(image)


@pytest.mark.parametrize(("ink", "background"), [(255, "white"), (0, "black"), (250, "white"), (10, "#000000")])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "PA", "P", "I;16"])
def test_strokes_of_the_backgrounds_colour_are_seen_all_the_same(tmp_path, ink, background, kind):
    strokes = np.zeros((8, 8), np.uint8)
    strokes[2:6, 3] = 255
    clear = with_alpha(Image.new("L", (8, 8), ink), Image.fromarray(strokes))
    if kind in ("P", "I;16"):  # PNG's other way: one value is declared transparent
        values = np.where(strokes, 1, 0) if kind == "P" else np.where(strokes, ink * 257, 5)
        image = Image.fromarray(values.astype(np.uint8 if kind == "P" else np.uint16))
        if kind == "P":
            image.putpalette([ink] * 6)
        image.save(tmp_path / "clear.png", transparency=0 if kind == "P" else 5)
        clear = Image.open(tmp_path / "clear.png")
        assert clear.mode == kind
    else:
        clear = clear.convert("RGBA") if kind == "RGBA" else clear
        clear = Image.merge("PA", clear.split()) if kind == "PA" else clear
    shown = np.asarray(as_shown(clear, background).convert("L")).astype(int)
    assert abs(shown[3, 3] - shown[0, 0]) > 200


@pytest.mark.parametrize("kind", ["colours", "grey", "white on white", "nothing visible", "opaque"])
def test_a_transparent_picture_is_the_same_in_strips(monkeypatch, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 45, 4), dtype=np.uint8)
    if kind == "grey":
        pixels[..., 1:3] = pixels[..., :1]
    if kind == "white on white":
        pixels[..., :3] = 250
    if kind in ("nothing visible", "opaque"):
        pixels[..., 3] = 255 if kind == "opaque" else 0
    image = Image.fromarray(pixels)
    whole = [as_shown(image, background) for background in ("white", "#808080")]
    monkeypatch.setattr("midcut.pictures._STRIP_PIXELS", 200)
    strips = [as_shown(image, background) for background in ("white", "#808080")]
    assert [part.mode for part in strips] == [part.mode for part in whole]
    assert all(np.array_equal(np.asarray(one), np.asarray(other)) for one, other in zip(strips, whole, strict=True))


def test_a_picture_of_which_nothing_is_visible_is_the_background():
    assert as_shown(Image.new("RGBA", (2, 2), (255, 255, 255, 0)), "#102030").getpixel((0, 0)) == (16, 32, 48)


def written(name):
    return {
        "1.png": (GREY.convert("1"), {}),
        "palette.png": (PHOTO.quantize(64), {}),
        "palette-clear.png": (PHOTO.quantize(64), {"transparency": 3}),
        "grey-clear.png": (GREY, {"transparency": 7}),
        "rgb-clear.png": (PHOTO, {"transparency": (0, 0, 255)}),
        "rgba.png": (with_alpha(PHOTO), {}),
        "rgba.webp": (with_alpha(PHOTO), {"lossless": True}),
        "rgba.tif": (with_alpha(PHOTO), {}),
        "la.png": (with_alpha(GREY), {}),
        "cmyk.jpg": (PHOTO.convert("CMYK"), {"quality": 100}),
        "cmyk.tif": (PHOTO.convert("CMYK"), {}),
        "ycbcr.tif": (PHOTO.convert("YCbCr"), {}),
        "16.png": (Image.fromarray(WIDE), {}),
        "16.tif": (Image.fromarray(WIDE), {}),
        "16.ppm": (Image.fromarray(WIDE.astype(np.int32)), {}),
        "16-clear.png": (Image.fromarray(WIDE), {"transparency": int(WIDE[3, 3])}),
        "float.tif": (Image.fromarray((WIDE / 65535).astype(np.float32)), {}),
        "turned.jpg": (PHOTO, {"exif": TURNED, "quality": 98}),
        "turned.tif": (PHOTO, {"exif": TURNED}),
        "animated.webp": (PHOTO, {"save_all": True, "append_images": [PHOTO.rotate(90)], "lossless": True}),
        "animated.gif": (PHOTO.quantize(64), {"save_all": True, "append_images": [PHOTO.rotate(90).quantize(64)]}),
        "two.mpo": (PHOTO, {"save_all": True, "append_images": [PHOTO.rotate(90)], "quality": 98}),
        "lossless.jp2": (PHOTO, {}),
        "rgba.tga": (with_alpha(PHOTO), {}),
    }[name]


FILES = (
    "1.png", "palette.png", "palette-clear.png", "grey-clear.png", "rgb-clear.png", "rgba.png", "rgba.webp",
    "rgba.tif", "la.png", "cmyk.jpg", "cmyk.tif", "ycbcr.tif", "16.png", "16.tif", "16.ppm", "16-clear.png",
    "float.tif", "turned.jpg", "turned.tif", "animated.webp", "animated.gif", "two.mpo", "lossless.jp2", "rgba.tga",
)  # fmt: skip
TURNED = Image.Exif()
TURNED[274] = 6  # a phone that was held upright
MAGICK = next((path for path in map(Path, ("/usr/bin/convert-im6", "/usr/bin/magick")) if path.exists()), None)


@pytest.mark.skipif(MAGICK is None, reason="needs ImageMagick")
@pytest.mark.parametrize("name", FILES)
def test_files_are_shown_as_imagemagick_shows_them(tmp_path, name):
    image, how = written(name)
    image.save(tmp_path / name, **how)
    theirs = subprocess.run(
        [
            MAGICK,
            f"{tmp_path / name}[0]",
            "-auto-orient",
            "-background",
            "white",
            "-flatten",
            "-colorspace",
            "sRGB",
            "-depth",
            "8",
            "rgb:-",
        ],
        capture_output=True,
        check=True,
    ).stdout
    ours = np.asarray(as_shown(ImageOps.exif_transpose(Image.open(tmp_path / name))).convert("RGB")).astype(int)
    assert np.abs(ours - np.frombuffer(theirs, np.uint8).reshape(64, 64, 3)).max() <= 1


PROFILES = Path("/usr/share/color/icc/ghostscript")


def wide_gamut():
    """A profile with the primaries of Display P3, as phones embed it, and sRGB's curve, made of Pillow's sRGB."""
    primaries = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = bytearray(srgb)
    for name, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True):
        at = int.from_bytes(srgb[(entry := srgb.index(name)) + 4 : entry + 8], "big")
        made[at + 8 : at + 20] = b"".join(round(value * 65536).to_bytes(4, "big", signed=True) for value in primary)
    return bytes(made)


def linear(level):
    return level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4


def curved(light):
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


@pytest.mark.parametrize("colour", [(200, 100, 50), (30, 180, 40), (128, 128, 128), (255, 255, 255)])
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "HEIF"])
def test_a_phones_wide_colours_become_those_of_srgb_by_hand(tmp_path, colour, kind):
    """The matrix from Display P3 to linear sRGB is the published one (CSS Color 4)."""
    matrix = [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]
    light = np.clip(np.array(matrix) @ [linear(level / 255) for level in colour], 0.0, 1.0)
    expected = [255 * curved(value) for value in light]
    image = Image.new("RGB", (32, 32), colour)
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
        path, how = tmp_path / "a.heic", {"quality": -1, "chroma": 444}
    else:
        path, how = tmp_path / "a.png", {}
        image = image.quantize(4) if kind == "P" else image.convert(kind)
    image.save(path, icc_profile=wide_gamut(), **how)
    shown = np.asarray(as_shown(Image.open(path)).convert("RGB"))[9, 9]
    assert np.abs(shown - np.array(expected)).max() <= (3 if kind == "HEIF" else 1.5)


@pytest.mark.parametrize("profile", [b"", b"no profile", wide_gamut()[:200]])
def test_a_broken_profile_and_one_of_srgb_change_nothing(profile):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for content in (profile, srgb):
        for image in (PHOTO, GREY, PHOTO.convert("CMYK")):
            tagged = image.copy()
            tagged.info["icc_profile"] = content
            plain = as_shown(image)
            assert np.array_equal(np.asarray(as_shown(tagged)), np.asarray(plain))


@pytest.mark.skipif(MAGICK is None or not PROFILES.is_dir(), reason="needs ImageMagick and Ghostscript's profiles")
@pytest.mark.parametrize(
    ("profile", "mode", "suffix"),
    [
        ("a98", "RGB", "png"),
        ("a98", "RGB", "webp"),
        ("rommrgb", "RGB", "tif"),
        ("ps_rgb", "RGB", "jpg"),
        ("default_cmyk", "CMYK", "tif"),
        ("ps_cmyk", "CMYK", "jpg"),
        ("sgray", "L", "png"),
        ("ps_gray", "L", "jpg"),
    ],
)
def test_a_picture_with_a_profile_is_shown_as_imagemagick_converts_it(tmp_path, profile, mode, suffix):
    file = tmp_path / f"a.{suffix}"
    how = {"lossless": True} if suffix == "webp" else {}
    PHOTO.convert(mode).save(file, icc_profile=(PROFILES / f"{profile}.icc").read_bytes(), **how)
    command = [MAGICK, file, "-profile", PROFILES / "srgb.icc", "-colorspace", "sRGB", "-depth", "8", "rgb:-"]
    theirs = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    ours = np.asarray(as_shown(Image.open(file)).convert("RGB")).astype(int)
    assert np.abs(ours - theirs.reshape(64, 64, 3)).max() <= 2


@pytest.mark.parametrize("lab", [(60, 30, 20), (60, 0, 0), (40, -20, 10), (80, 5, -20)])
def test_lab_is_relative_to_d50_as_in_tiff_by_hand(lab):
    """ImageMagick takes D65, which differs by 6 of 255 on average."""
    lightness, green_red, blue_yellow = lab
    image = Image.new("LAB", (2, 2), (round(lightness * 2.55), 128 + green_red, 128 + blue_yellow))
    fy = (lightness + 16) / 116
    xyz = [
        white * (f**3 if f > 6 / 29 else 3 * (6 / 29) ** 2 * (f - 4 / 29))
        for white, f in zip((0.96422, 1.0, 0.82521), (fy + green_red / 500, fy, fy - blue_yellow / 200), strict=True)
    ]
    to_rgb = [  # from XYZ under D50, Bradford-adapted (Lindbloom)
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    expected = [255 * curved(min(max(light, 0.0), 1.0)) for light in np.array(to_rgb) @ xyz]
    assert np.abs(np.array(as_shown(image).getpixel((0, 0))) - expected).max() <= 2.5


def reader(channels=3, size=(8, 8), **settings):
    return ImageReader((channels, *size), [0.0], [1.0], ImageSettings(**settings))


def test_letterbox_pads_with_the_fill_and_keeps_all():
    read = reader(fit=Fit.letterbox, fill="#ff0000")
    tensor = read(Image.new("RGB", (16, 8), (0, 255, 0)))[0]
    assert tensor[:, 0, 0].tolist() == tensor[:, 7, 7].tolist() == [1.0, 0.0, 0.0]
    assert tensor[:, 2:6].permute(1, 2, 0).reshape(-1, 3).unique(dim=0).tolist() == [[0.0, 1.0, 0.0]]


def test_stretch_shows_both_ends_and_crop_shows_the_centre():
    image = Image.new("L", (24, 8), 255)
    image.paste(0, (8, 0, 16, 8))
    assert reader(1, fit=Fit.crop)(image).max() < 0.5
    stretched = reader(1, fit=Fit.stretch)(image)[0, 0]
    assert stretched[0, 0] == stretched[0, 7] == 1.0


def test_a_crop_ratio_takes_the_middle_of_the_shorter_side():
    image = Image.new("L", (16, 16), 255)
    image.paste(0, (4, 4, 12, 12))
    assert reader(1, crop_ratio=0.5)(image).max() == 0.0
    assert reader(1)(image).max() == 1.0


@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_interpolations_are_pillows(interpolation):
    want = np.asarray(GREY.resize((16, 16), Image.Resampling[interpolation.name.upper()]))
    got = reader(1, (16, 16), interpolation=interpolation)(GREY)
    assert torch.equal(got[0, 0], torch.from_numpy(want.astype(np.float32) / 255.0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop_ratio": 0.0}, "image.crop_ratio must be over 0"),
        ({"crop_ratio": 1.5}, "image.crop_ratio"),
        ({"fill": "no colour"}, "image.fill must be a colour"),
        ({"background": "#12"}, "image.background must be a colour"),
    ],
)
def test_settings_out_of_bounds_are_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        ImageSettings(**settings).check("image")


@pytest.mark.skipif(MAGICK is None, reason="needs ImageMagick")
@pytest.mark.parametrize("kind", ["PNG48", "PNG64"])
def test_pngs_of_16_bits_a_colour_are_shown_as_imagemagick_shows_them(tmp_path, kind):
    file, gradient = tmp_path / "wide.png", "gradient:#ff000080-#0000ffff"
    subprocess.run([MAGICK, "-size", "16x64", gradient, "-depth", "16", f"{kind}:{file}"], check=True)
    command = [MAGICK, file, "-background", "white", "-flatten", "-depth", "8", "rgb:-"]
    theirs = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    ours = np.asarray(as_shown(Image.open(file)).convert("RGB")).astype(int)
    assert np.abs(ours - theirs.reshape(64, 16, 3)).max() <= 2
