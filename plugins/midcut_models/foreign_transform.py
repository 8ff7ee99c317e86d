"""Another library's preprocessing of pictures, done by a reader of ours where one makes the same tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from PIL import Image

from midcut.pictures import as_shown
from midcut.tensors import to_numpy
from midcut_models.centre_crop import CentreCrop, middle
from midcut_models.images import ImageReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.types import Tensor

Reader: TypeAlias = CentreCrop | ImageReader
"""They bound what they make of very long pictures, and an edge without PyTorch has them too."""
_SIZES: Final = ((640, 427), (333, 500), (97, 98), (50, 33))


@dataclass(frozen=True)
class ForeignTransform:
    """A transform that no reader of ours does. It gets a picture as a viewer shows it, of a very long one the middle.

    Attributes:
        transform: makes a tensor of batch size 1 from an RGB picture.
    """

    transform: Callable[[Image.Image], Tensor]

    def __call__(self, image: Image.Image) -> Tensor:
        return self.transform(middle(as_shown(image).convert("RGB")))


def reader_or_transform(
    transform: Callable[[Image.Image], Tensor], find_reader: Callable[[], Reader]
) -> Reader | ForeignTransform:
    """A reader of ours in place of a transform, if both make the same tensors of a few pictures.

    Args:
        transform: see `ForeignTransform`.
        find_reader: makes the reader from the transform's settings; an error means that there is none.
    """
    try:
        reader = find_reader()
        if all(_same(transform, reader, *size) for size in _SIZES):
            return reader
    except Exception:  # noqa: BLE001 - other libraries' settings may have any form
        return ForeignTransform(transform)
    return ForeignTransform(transform)


def _same(
    transform: Callable[[Image.Image], Tensor], reader: Callable[[Image.Image], Tensor], width: int, height: int
) -> bool:
    pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3), np.uint8)
    picture = Image.fromarray(pixels)
    expected, found = to_numpy(transform(picture)), to_numpy(reader(picture))
    return expected.shape == found.shape and bool(np.allclose(expected, found, rtol=0.0, atol=1e-6))
