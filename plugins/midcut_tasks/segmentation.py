"""The class of every pixel."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from midcut_tasks.choosing import NotFinite, are_decided, choose, is_float, label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Segmentation:
    """Answers with the share of each class, and the map of classes as a grey PNG whose pixel values are the classes."""

    def __init__(self, class_names: Sequence[str] = (), output: str | None = None, *, map: bool = True) -> None:  # noqa: A002 - the setting's name
        self._labels, self._output, self._with_map = class_names, output, map
        self._not_finite = NotFinite("segmentation")

    def answer(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        scores = choose(outputs, self._output, _is_map, "segmentation", "(1, classes, height, width)")[0]
        if not are_decided(scores, axis=0):
            size = {"height": scores.shape[1], "width": scores.shape[2]}
            return {"task": "segmentation", **size, "classes": [], **self._not_finite.reason("scores")}
        classes = scores.argmax(axis=0) if scores.shape[0] > 1 else _mask(scores[0])
        counts = np.bincount(classes.reshape(-1))
        present = sorted(np.flatnonzero(counts).tolist(), key=lambda number: -int(counts[number]))
        answer = {
            "task": "segmentation",
            "height": classes.shape[0],
            "width": classes.shape[1],
            "classes": [
                {
                    "class": number,
                    "label": label(self._labels, number),
                    "share": int(counts[number]) / classes.size,
                }
                for number in present
            ],
        }
        return answer | {"map": _png(classes)} if self._with_map else answer


def _is_map(value: NDArray[Any]) -> bool:
    return value.ndim == 4 and value.shape[0] == 1 and value[0, 0:1].size > 1 and is_float(value)


def _mask(scores: NDArray[Any]) -> NDArray[np.intp]:
    are_probabilities = bool(((scores >= 0.0) & (scores <= 1.0)).all())
    return (scores > (0.5 if are_probabilities else 0.0)).astype(np.intp)


def _png(classes: NDArray[np.intp]) -> str:
    wide = int(classes.max()) > 255
    out = io.BytesIO()
    Image.fromarray(classes.astype("uint16" if wide else "uint8")).save(out, format="PNG")
    return base64.b64encode(out.getvalue()).decode()
