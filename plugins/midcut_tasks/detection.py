"""Objects with boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ConfigError
from midcut.tensors import is_tensor, to_numpy
from midcut_tasks.choosing import describe, label, sigmoid, softmax
from midcut_tasks.config import Activation, BoxFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_NAMES = {"boxes": ("boxes", "pred_boxes"), "scores": ("scores", "logits", "pred_logits"), "labels": ("labels",)}


class Detection:
    """Answers with `objects`, the most likely first: class, label, score and box as x1, y1, x2, y2."""

    def __init__(
        self,
        class_names: Sequence[str] = (),
        *,
        boxes: str | None = None,
        scores: str | None = None,
        labels: str | None = None,
        format: BoxFormat = BoxFormat.xyxy,  # noqa: A002 - the setting's name
        activation: Activation = Activation.none,
        background: int | None = None,
        min_score: float = 0.5,
        max_iou: float = 0.5,
        most: int = 100,
    ) -> None:
        for name, share in (("min_score", min_score), ("max_iou", max_iou)):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} must be from 0 to 1, got {share}")
        if most < 1:
            raise ValueError(f"most must be at least 1, got {most}")
        self._class_names = class_names
        self._outputs = {"boxes": boxes, "scores": scores, "labels": labels}
        self._format, self._activation, self._background = format, activation, background
        self._min_score, self._max_iou, self._most = min_score, max_iou, most

    def answer(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        boxes, scores, classes = self._candidates(outputs)
        likely = scores >= self._min_score
        boxes, scores, classes = boxes[likely], scores[likely], classes[likely]
        kept = suppress(boxes, scores, classes, self._max_iou)[: self._most]
        objects = [
            {
                "class": int(classes[index]),
                "label": label(self._class_names, int(classes[index])),
                "score": float(scores[index]),
                "box": [float(edge) for edge in boxes[index]],
            }
            for index in kept
        ]
        return {"task": "detection", "objects": objects}

    def _candidates(self, outputs: Mapping[str, Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Boxes (N, 4) by their corners, probabilities (N,), classes (N,)."""
        boxes, scores = (_without_batch(self._find(outputs, part)) for part in ("boxes", "scores"))
        classes = self._outputs["labels"] or _found(outputs, "labels")
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape[:1] != boxes.shape[:1] or scores.ndim not in (1, 2):
            raise ConfigError(f"task=detection needs boxes (N, 4) and scores (N) or (N, classes); {describe(outputs)}")
        if self._format is BoxFormat.cxcywh:
            centre, half = boxes[:, :2], boxes[:, 2:] / 2
            boxes = np.concatenate([centre - half, centre + half], axis=1)
        if scores.ndim == 1:
            scores = sigmoid(scores) if self._activation is not Activation.none else scores
            found = self._find(outputs, "labels") if classes else np.zeros(len(scores), np.int64)
            return boxes, scores.astype(np.float32), _without_batch(found, most=1)
        if self._activation is Activation.softmax:
            scores = softmax(scores)
        elif self._activation is Activation.sigmoid:
            scores = sigmoid(scores.astype(np.float32))
        numbers = np.arange(scores.shape[1])
        if self._background is not None:
            numbers = numbers[numbers != self._background % scores.shape[1]]
        offered = scores[:, numbers]
        return boxes, offered.max(axis=1).astype(np.float32), numbers[offered.argmax(axis=1)]

    def _find(self, outputs: Mapping[str, Any], part: str) -> NDArray[Any]:
        name = self._outputs[part] or _found(outputs, part)
        value = outputs.get(name) if name is not None else None
        if not is_tensor(value):
            raise ConfigError(f"task.{part} must name an output of the model; there are: {describe(outputs)}")
        return to_numpy(value)


def finds_boxes(outputs: Mapping[str, Any]) -> bool:
    """Whether there are outputs named as those of detectors are."""
    return all(_found(outputs, part) is not None for part in ("boxes", "scores"))


def suppress(boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], max_iou: float) -> list[int]:
    """Greedy non-maximum suppression within each class.

    Args:
        boxes: corners, shape (N, 4).
        scores, classes: shape (N,).

    Returns:
        indices of the boxes that stay, by falling score.
    """
    area = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left):
        first, left = left[0], left[1:]
        kept.append(int(first))
        low = np.maximum(boxes[first, :2], boxes[left, :2])
        high = np.minimum(boxes[first, 2:], boxes[left, 2:])
        inner = np.maximum(high - low, 0).prod(axis=1)
        iou = inner / np.maximum(area[first] + area[left] - inner, 1e-12)
        left = left[(iou <= max_iou) | (classes[left] != classes[first])]
    return kept


def _found(outputs: Mapping[str, Any], part: str) -> str | None:
    """The output whose name ends as one of those that detectors use: `boxes`, `output_0.boxes`."""
    return next((name for name in outputs if name.rpartition(".")[2] in _NAMES[part]), None)


def _without_batch(value: NDArray[Any], most: int = 2) -> NDArray[Any]:
    return value[0] if value.ndim > most and value.shape[0] == 1 else value
