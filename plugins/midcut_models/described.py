"""Another library's preprocessing of pictures, with a description by which an edge without PyTorch does the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from midcut.pictures import as_shown
from midcut.tensors import to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.types import Tensor
    from midcut_models.centre_crop import CentreCrop
    from midcut_models.images import ImageReader

_SIZES: Final = ((640, 427), (333, 500), (97, 98), (50, 33))


@dataclass(frozen=True)
class Described:
    """Preprocessing of a picture, read as a viewer shows it.

    Attributes:
        transform: makes a tensor of batch size 1 from an RGB picture.
        description: what an exported model's manifest holds; None where no reader of ours does the same.
    """

    transform: Callable[[Image.Image], Tensor]
    description: dict[str, Any] | None = None

    def __call__(self, image: Image.Image) -> Tensor:
        return self.transform(as_shown(image).convert("RGB"))


def described(
    transform: Callable[[Image.Image], Tensor], find_reader: Callable[[], CentreCrop | ImageReader | None]
) -> Described:
    """Describe a transform by a reader of ours, if both make the same tensors of a few pictures.

    Args:
        transform: see `Described`.
        find_reader: makes the reader from the transform's settings; an error means that there is none.
    """
    try:
        reader = find_reader()
        if reader is not None and all(_same(transform, reader, *size) for size in _SIZES):
            return Described(transform, reader.description)
    except Exception:  # noqa: BLE001 - other libraries' settings may have any form
        return Described(transform)
    return Described(transform)


def _same(
    transform: Callable[[Image.Image], Tensor], reader: Callable[[Image.Image], Tensor], width: int, height: int
) -> bool:
    pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3), np.uint8)
    picture = Image.fromarray(pixels)
    expected, found = to_numpy(transform(picture)), to_numpy(reader(picture))
    return expected.shape == found.shape and bool(np.allclose(expected, found, rtol=0.0, atol=1e-6))
