"""The output as a vector."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midcut_tasks.choosing import NotFinite, choose, is_float

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Embedding:
    """Answers with the `values` of a vector, and its `length` before it is normalised."""

    def __init__(self, class_names: Sequence[str] = (), output: str | None = None, *, normalise: bool = False) -> None:
        del class_names  # a vector has no classes
        self._output, self._normalise = output, normalise
        self._not_finite = NotFinite("embedding")

    def answer(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        vector = choose(outputs, self._output, _is_vector, "embedding", "(1, size)").reshape(-1).astype(np.float64)
        length = float(np.linalg.norm(vector))
        if not math.isfinite(length):
            return {"task": "embedding", "values": [], "length": None, **self._not_finite.reason("values")}
        if self._normalise and length > 0.0:
            vector = vector / length
        return {"task": "embedding", "values": vector.tolist(), "length": length}


def _is_vector(value: NDArray[Any]) -> bool:
    """Whether a tensor has one axis that is longer than 1, as pooled features (1, size, 1, 1) have."""
    return is_float(value) and value.size > 0 and max(value.shape, default=0) == value.size
