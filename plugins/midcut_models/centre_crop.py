"""torchvision's preprocessing of classifiers, without torch: scale the shorter side, crop the centre, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from midcut.pictures import as_shown
from midcut.tensors import from_numpy
from midcut_models.images import normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.types import Tensor

_MOST_TIMES_AS_LONG = 16


@dataclass(frozen=True)
class CentreCrop:
    """A pure function from a decoded picture to a float32 tensor of shape (1, 3, crop, crop), as torchvision makes it.

    Attributes:
        resize: pixels of the shorter side after scaling.
        crop: pixels of the square that is taken from the centre.
        mean, std: of the normalisation of values from 0 to 1, one number per channel.
        interpolation: Pillow's name of the filter, in lower case.
        round_down: whether half a pixel at the edge of the crop is dropped; else it goes to an even number of pixels.
    """

    resize: int
    crop: int
    mean: Sequence[float]
    std: Sequence[float]
    interpolation: str = "bilinear"
    round_down: bool = False

    @property
    def description(self) -> dict[str, Any]:
        """What an exported model's manifest holds of it."""
        numbers = {"resize": self.resize, "crop": self.crop, "mean": list(self.mean), "std": list(self.std)}
        settings = {"interpolation": self.interpolation, "round_down": self.round_down}
        return {"kind": "centre_crop", **numbers, **settings}

    def __call__(self, image: Image.Image) -> Tensor:
        scaled = self._scale(middle(as_shown(image).convert("RGB")))
        left, top = (self._offset(side - self.crop) for side in scaled.size)
        cropped = scaled.crop((left, top, left + self.crop, top + self.crop))  # what is outside is black
        return from_numpy(normalised(cropped, self.mean, self.std))

    def _offset(self, left_over: int) -> int:
        return left_over // 2 if self.round_down else round(left_over / 2.0)

    def _scale(self, image: Image.Image) -> Image.Image:
        short, long = sorted(image.size)
        new_long = int(self.resize * long / short)
        size = (self.resize, new_long) if image.width <= image.height else (new_long, self.resize)
        return image if size == image.size else image.resize(size, Image.Resampling[self.interpolation.upper()])


def middle(image: Image.Image) -> Image.Image:
    """The middle of a very long picture: all of it would be enlarged, and just the middle square is used."""
    longest = _MOST_TIMES_AS_LONG * min(image.size)
    width, height = (min(side, longest) for side in image.size)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
