"""Conversion of images to the tensors that models take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from midcut.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def image_reader(
    shape: Sequence[int], mean: Sequence[float], std: Sequence[float]
) -> Callable[[Image.Image], torch.Tensor]:
    """Make a function from an image to a float32 tensor of shape (1, *shape).

    The image is scaled until it covers the shape, its centre is cropped, and values from 0 to 1 are normalised.

    Args:
        shape: (channels, height, width), with 1 channel (grey) or 3 (RGB).
        mean, std: of the normalisation, one number or one per channel.

    Raises:
        GraphError: the shape is not that of an image.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise GraphError(f"inputs of shape {list(shape)} are not images of 1 or 3 channels; send tensors instead")
    channels, height, width = shape
    offset = torch.tensor(list(mean), dtype=torch.float32).reshape(-1, 1, 1)
    scale = torch.tensor(list(std), dtype=torch.float32).reshape(-1, 1, 1)

    def read(image: Image.Image) -> torch.Tensor:
        plain = image.convert("L" if channels == 1 else "RGB")
        factor = max(width / plain.width, height / plain.height)
        size = (max(width, round(plain.width * factor)), max(height, round(plain.height * factor)))
        if size != plain.size:
            plain = plain.resize(size, Image.Resampling.BILINEAR)
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        pixels = np.asarray(plain.crop((left, top, left + width, top + height)), dtype=np.float32) / 255.0
        planes = torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1)
        return ((planes - offset) / scale).unsqueeze(0).contiguous()

    return read
