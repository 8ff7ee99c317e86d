"""Decoding untrusted image bytes to a model's input."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from midcut.edge.frontend.formats import formats, why_unknown
from midcut.errors import MalformedError

if TYPE_CHECKING:
    import torch

    from midcut.types import LoadedModel

MAX_PIXELS: Final = 50_000_000


def read_image(data: bytes | bytearray, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image, and rotate it as its EXIF orientation says.

    Raises:
        MalformedError: an unknown format, a broken image, or too many pixels.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=formats())
        width, height = image.size
        if width * height <= max_pixels:
            image.load()
            return ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise MalformedError(why_unknown(data)) from None
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise many types of errors for broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MalformedError(f"the image is broken: {reason}") from None
    raise MalformedError(f"the image has {width} x {height} pixels, over the limit of {max_pixels}")


def model_input(model: LoadedModel, data: bytes | bytearray, max_pixels: int = MAX_PIXELS) -> torch.Tensor:
    """Decode and preprocess an image. Slow: call it on a worker thread.

    Raises:
        MalformedError: see `read_image`; also an image the model's preprocessing cannot use.
    """
    image = read_image(data, max_pixels)
    try:
        return model.preprocess(image)
    except Exception as error:  # noqa: BLE001 - the model author's preprocessing may raise anything
        raise MalformedError(f"the image cannot be preprocessed for {model.name}: {error}") from None
