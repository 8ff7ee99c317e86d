"""Conversion of pictures to the tensors that models take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageColor

from midcut.errors import GraphError
from midcut.pictures import as_shown
from midcut.tensors import from_numpy
from midcut_models.config import Fit, ImageSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from midcut.types import Tensor

# How many times the larger of picture and input a scaled picture may be.
_MOST_ENLARGED = 16


@dataclass(frozen=True)
class ImageReader:
    """A pure function from a decoded picture, in any mode of Pillow, to a float32 tensor of shape (1, *shape).

    The picture is converted as `midcut.pictures.as_shown` does, scaled, cropped or padded to the shape, and its values
    from 0 to 1 are normalised.

    Attributes:
        shape: (channels, height, width), with 1 channel (grey) or 3 (RGB).
        mean, std: of the normalisation, one number or one per channel.
        settings: how the picture is fitted to the shape.

    Raises:
        GraphError: the shape is not that of an image.
    """

    shape: Sequence[int]
    mean: Sequence[float]
    std: Sequence[float]
    settings: ImageSettings = field(default_factory=ImageSettings)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or self.shape[0] not in (1, 3):
            raise GraphError(
                f"inputs of shape {list(self.shape)} are not images of 1 or 3 channels; send tensors instead"
            )

    @property
    def description(self) -> dict[str, Any]:
        """What an exported model's manifest holds of it."""
        settings = {
            "interpolation": self.settings.interpolation.value,
            "fit": self.settings.fit.value,
            "crop_ratio": self.settings.crop_ratio,
            "fill": self.settings.fill,
            "background": self.settings.background,
        }
        numbers = {"shape": list(self.shape), "mean": list(self.mean), "std": list(self.std)}
        return {"kind": "fitted", **numbers, "settings": settings}

    def __call__(self, image: Image.Image) -> Tensor:
        channels, height, width = self.shape
        shown, mode = as_shown(image, self.settings.background), "L" if channels == 1 else "RGB"
        if shown.mode != mode:  # `convert` makes a copy even where it is the same
            shown = shown.convert(mode)
        return from_numpy(normalised(_fit(shown, (width, height), self.settings), self.mean, self.std))


def normalised(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """The values of a grey or RGB picture, from 0 to 1, less the mean, over the deviation: (1, planes, rows, columns).

    The same float32 operations as torchvision's, so the same bits.
    """
    planes = np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)
    offset, scale = (np.asarray(list(numbers), np.float32).reshape(-1, 1, 1) for numbers in (mean, std))
    values = np.empty((1, *planes.shape), np.float32)
    values[0] = planes
    values /= np.float32(255.0)
    values -= offset
    values /= scale
    return values


def _fit(image: Image.Image, size: tuple[int, int], settings: ImageSettings) -> Image.Image:
    """Scale a picture, then crop its centre or pad it, to a size (width, height)."""
    width, height = size
    ratios = (width / image.width, height / image.height)
    if settings.fit is Fit.stretch:
        return _scale(image, size, settings)
    if settings.fit is Fit.letterbox:
        factor = min(ratios)
        inner = (min(width, max(1, round(image.width * factor))), min(height, max(1, round(image.height * factor))))
        padded = Image.new(image.mode, size, ImageColor.getcolor(settings.fill, image.mode))
        padded.paste(_scale(image, inner, settings), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return padded
    factor = max(ratios) / settings.crop_ratio
    if image.width * image.height * factor * factor > _MOST_ENLARGED * max(width * height, image.width * image.height):
        return _scale_centre(image, size, factor, settings)
    scaled = _scale(
        image, (max(width, round(image.width * factor)), max(height, round(image.height * factor))), settings
    )
    left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
    return scaled.crop((left, top, left + width, top + height))


def _scale_centre(image: Image.Image, size: tuple[int, int], factor: float, settings: ImageSettings) -> Image.Image:
    """Scale only what the crop keeps: of a picture of 4000 x 1 pixels the rest would be a thousand times as much."""
    kept = [min(wanted / factor, side) for wanted, side in zip(size, image.size, strict=True)]
    left, top = ((side - part) / 2 for side, part in zip(image.size, kept, strict=True))
    box = (left, top, left + kept[0], top + kept[1])
    return image.resize(size, Image.Resampling[settings.interpolation.value.upper()], box)


def _scale(image: Image.Image, size: tuple[int, int], settings: ImageSettings) -> Image.Image:
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling[settings.interpolation.value.upper()])
