"""Pictures as an image viewer shows them: every mode of Pillow as 8-bit grey or RGB, or a refusal.

A plain `Image.convert("RGB")` drops transparency, which shows the colour hidden below it, and clips 16-bit and
floating-point pixels, which makes them white. Colour profiles are ignored, as training pipelines do. Importing this
imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageColor, ImageStat

from midcut.errors import MalformedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIXTEEN_BITS: Final = ("I;16", "I;16L", "I;16B", "I;16N")
_FULL: Final = 65535
# A visible part whose grey level differs less than this from the background, on average, could not be recognised.
_LEAST_DIFFERENCE: Final = 32


def as_shown(image: Image.Image, background: str = "white") -> Image.Image:
    """Convert a picture to 8 bits, mode L if it is grey and RGB if it has colours, as an image viewer shows it.

    - Transparent pixels show the background. If hardly anything of the picture could be seen on it, as with white
      strokes on white, the background is black or white, whichever differs more.
    - 16 bits are scaled so that 65535 is white. So are the 32-bit integers in which Pillow stores some of them.
    - Floating-point pixels go from 0 (black) to 1 (white).

    Args:
        background: a colour name or `#rrggbb`, as Pillow takes them.

    Raises:
        MalformedError: pixel values for which no viewer has a range: integers over 16 bits, floats outside 0 to 1.
        ValueError: there is no such background colour.
    """
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image
    if image.mode in _SIXTEEN_BITS or image.mode in ("I", "F"):
        return _from_wide_pixels(image, background)
    if image.mode == "La":  # `convert` has a rule for its own counterpart only
        image = image.convert("LA")
    if image.has_transparency_data:
        return _on_background(image.convert("RGBA"), background)
    if image.mode == "1":
        return image.convert("L")
    return _from_lab(image) if image.mode == "LAB" else image.convert("RGB")


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
    """Composite an RGBA picture on the background, or on black or white where it would hardly be seen on that."""
    alpha = picture.getchannel("A")
    grey = picture.convert("RGB").convert("L")
    level = Image.new("RGB", (1, 1), ImageColor.getrgb(background)[:3]).convert("L").getpixel((0, 0))
    if _difference(grey, alpha, level) < _LEAST_DIFFERENCE:
        background = max(("white", "black"), key=lambda name: _difference(grey, alpha, 255 if name == "white" else 0))
    below = Image.new("RGBA", picture.size, (*ImageColor.getrgb(background)[:3], 255))
    shown = Image.alpha_composite(below, picture).convert("RGB")
    red, green, blue = shown.split()
    is_grey = not any(ImageChops.difference(red, other).getbbox() for other in (green, blue))
    return red if is_grey else shown


def _difference(grey: Image.Image, alpha: Image.Image, level: Any) -> float:
    """Mean difference between a grey level and the visible part of a picture; infinite if nothing is visible."""
    visible = float(ImageStat.Stat(alpha).sum[0])
    if visible == 0.0:
        return float("inf")
    apart = ImageChops.difference(grey, Image.new("L", grey.size, int(level)))
    return float(ImageStat.Stat(ImageChops.multiply(apart, alpha)).sum[0]) * 255.0 / visible


def _from_lab(image: Image.Image) -> Image.Image:
    """Convert CIELAB, for which `Image.convert` has no rule, to sRGB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "a copy was requested"  # noqa: S101 - for the type checker
    return converted
