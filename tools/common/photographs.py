"""Photographs that come with scikit-image, for figures that random inputs cannot give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator


def crops(count: int) -> Iterator[Image.Image]:
    """Parts of photographs, the same ones each time: half to all of the shorter side."""
    from skimage import data  # noqa: PLC0415 - an extra

    photographs = [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    generator = np.random.default_rng(0)
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        side = int(min(photograph.size) * generator.uniform(0.5, 1.0))
        left, top = (int(generator.integers(0, size - side + 1)) for size in photograph.size)
        yield photograph.crop((left, top, left + side, top + side))
