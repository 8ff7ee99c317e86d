"""Pictures as an image viewer shows them: every mode of Pillow as 8-bit grey or RGB, or a refusal.

A plain `Image.convert("RGB")` drops transparency, which shows the colour hidden below it, clips 16-bit and
floating-point pixels, which makes them white, and takes the numbers of every colour space, such as a phone's Display
P3, for those of sRGB. Importing this imports no torch.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageColor, ImageStat

from midcut.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_SIXTEEN_BITS: Final = ("I;16", "I;16L", "I;16B", "I;16N")
_FULL: Final = 65535
# Of each colour, by which profiles are compared with sRGB, and the most by which they may differ to be taken for it.
_LEVELS: Final = np.arange(0, 256, 51, dtype=np.uint8)
_SAME: Final = 2
# A visible part whose grey level differs less than this from the background, on average, could not be recognised.
_LEAST_DIFFERENCE: Final = 32
# Of a transparent picture that are composited at once.
_STRIP_PIXELS: Final = 1_000_000


def as_shown(image: Image.Image, background: str = "white") -> Image.Image:
    """Convert a picture to 8 bits, mode L if it is grey and RGB if it has colours, as an image viewer shows it.

    - Transparent pixels show the background. If hardly anything of the picture could be seen on it, as with white
      strokes on white, the background is black or white, whichever differs more.
    - 16 bits are scaled so that 65535 is white. So are the 32-bit integers in which Pillow stores some of them.
    - Floating-point pixels go from 0 (black) to 1 (white).
    - Colours are converted to sRGB by the picture's own profile (ICC), if it has one that can be read. Without one, RGB
      is sRGB, CMYK the plain complement, and LAB relative to D50, as in TIFF (ImageMagick takes D65).

    Args:
        background: a colour name or `#rrggbb`, as Pillow takes them.

    Raises:
        MalformedError: pixel values for which no viewer has a range: integers over 16 bits, floats outside 0 to 1.
        ValueError: there is no such background colour.
    """
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return _by_profile(image)
    if image.mode in _SIXTEEN_BITS or image.mode in ("I", "F"):
        return _from_wide_pixels(image, background)
    if image.mode == "La":  # `convert` has a rule for its own counterpart only
        image = image.convert("LA")
    if image.has_transparency_data:
        return _on_background(_by_profile(image if image.mode == "RGBA" else image.convert("RGBA")), background)
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "LAB":
        return _from_lab(image)
    return _by_profile(image if image.mode == "CMYK" else image.convert("RGB")).convert("RGB")


def _by_profile(image: Image.Image) -> Image.Image:
    """The colours in sRGB, by the picture's profile; the picture itself where it has none, or one of sRGB."""
    profile = image.info.get("icc_profile")
    convert = _conversion(bytes(profile), image.mode) if isinstance(profile, bytes | bytearray) else None
    if convert is None:
        return image
    shown = convert.apply(image)
    return shown.convert("L") if image.mode == "L" else shown


@lru_cache(maxsize=16)
def _conversion(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """How a profile's colours become those of sRGB; None where they are, or it is broken or of another colour space."""
    out = "RGBA" if mode == "RGBA" else "RGB"
    # The usual short cut of tables is off by up to 30 of 255 where colours are dark.
    flags = ImageCms.Flags.NOOPTIMIZE if mode == "CMYK" else ImageCms.Flags.NONE
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        convert = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, out, ImageCms.Intent.RELATIVE_COLORIMETRIC, flags
        )
    except (ImageCms.PyCMSError, OSError, ValueError):  # a viewer shows the picture all the same
        return None
    if mode == "CMYK":
        return convert
    levels = Image.fromarray(np.stack(np.meshgrid(*[_LEVELS] * 3), -1).reshape(1, -1, 3)).convert(mode)
    changed = ImageChops.difference(convert.apply(levels).convert("RGB"), levels.convert("RGB"))
    return convert if np.asarray(changed).max() > _SAME else None


def _from_wide_pixels(image: Image.Image, background: str) -> Image.Image:
    """Scale pixels of 16 bits or more to 8. A grey level that PNG declares transparent becomes the background."""
    pixels = np.asarray(image)
    grey = Image.fromarray(_scale_floats(pixels) if image.mode == "F" else _scale_ints(pixels))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    grey.putalpha(Image.fromarray(np.where(pixels == transparent, 0, 255).astype(np.uint8)))
    return _on_background(grey.convert("RGBA"), background)


def _scale_ints(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > _FULL:
        raise MalformedError(
            f"pixels from {low} to {high} have no agreed black and white: save the picture with 8 or 16 bits"
        )
    return ((pixels.astype(np.uint32) * 255 + _FULL // 2) // _FULL).astype(np.uint8)


def _scale_floats(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if not np.isfinite(pixels).all() or pixels.min() < 0.0 or pixels.max() > 1.0:
        raise MalformedError(
            f"floating-point pixels from {pixels.min():g} to {pixels.max():g} have no agreed black and white: "
            "scale them to 0..1"
        )
    return np.round(pixels * 255.0).astype(np.uint8)


def _on_background(picture: Image.Image, background: str) -> Image.Image:
    """Composite an RGBA picture on the background, or on black or white where it would hardly be seen on that.

    In strips of rows: of a large picture nothing but the result takes memory of its size.
    """
    if min(_differences(picture, [background])) < _LEAST_DIFFERENCE:
        white, black = _differences(picture, ["white", "black"])
        background = "white" if white >= black else "black"
    colour = (*ImageColor.getrgb(background)[:3], 255)
    shown, is_grey = Image.new("RGB", picture.size), True
    for top, strip in _strips(picture):
        on_top = Image.alpha_composite(Image.new("RGBA", strip.size, colour), strip).convert("RGB")
        red, green, blue = on_top.split()
        is_grey = is_grey and not any(ImageChops.difference(red, other).getbbox() for other in (green, blue))
        shown.paste(on_top, (0, top))
    return shown.getchannel("R") if is_grey else shown


def _strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Parts of a picture from top to bottom, each with its first row."""
    rows = max(1, _STRIP_PIXELS // max(picture.width, 1))
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _differences(picture: Image.Image, backgrounds: Sequence[str]) -> list[float]:
    """Mean difference between the grey level of each background and the visible part of an RGBA picture.

    Infinite if nothing is visible.
    """
    levels = [
        Image.new("RGB", (1, 1), ImageColor.getrgb(name)[:3]).convert("L").getpixel((0, 0)) for name in backgrounds
    ]
    visible, apart = 0.0, [0.0] * len(levels)
    for _, strip in _strips(picture):
        alpha, grey = strip.getchannel("A"), strip.convert("RGB").convert("L")
        visible += float(ImageStat.Stat(alpha).sum[0])
        for position, level in enumerate(levels):
            difference = ImageChops.difference(grey, Image.new("L", grey.size, int(level)))  # type: ignore[arg-type]
            apart[position] += float(ImageStat.Stat(ImageChops.multiply(difference, alpha)).sum[0])
    return [total * 255.0 / visible if visible else float("inf") for total in apart]


def _from_lab(image: Image.Image) -> Image.Image:
    """Convert CIELAB, for which `Image.convert` has no rule, to sRGB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "a copy was requested"  # noqa: S101 - for the type checker
    return converted
