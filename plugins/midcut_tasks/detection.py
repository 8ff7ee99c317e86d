"""Objects with boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midcut.errors import ConfigError
from midcut.tensors import is_tensor, to_numpy
from midcut_tasks.choosing import NotFinite, describe, label, sigmoid, softmax
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
        format: BoxFormat | None = None,  # noqa: A002 - the setting's name
        activation: Activation | None = None,
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
        self._not_finite = NotFinite("detection")

    def answer(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        boxes, scores, classes = self._candidates(outputs)
        unsure = not np.isfinite(scores).all()
        likely = scores >= self._min_score
        boxes, scores, classes = boxes[likely], scores[likely], classes[likely]
        if not np.isfinite(boxes).all() or unsure:
            return {"task": "detection", "objects": [], **self._not_finite.reason("boxes or scores")}
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
        boxes, scores = self._find(outputs, "boxes"), self._find(outputs, "scores")
        boxes = boxes[0] if boxes.ndim == 3 and boxes.shape[0] == 1 else boxes
        scores = _without_batch(scores, len(boxes))
        box_format, activation, background = self._meaning(outputs)
        numbers = np.arange(scores.shape[1] if scores.ndim == 2 else 1)
        if background is not None and scores.ndim == 2:
            if not -len(numbers) <= background < len(numbers):
                raise ConfigError(f"task.background={background} is none of the {len(numbers)} classes of the scores")
            numbers = numbers[numbers != background % len(numbers)]
        fit = boxes.ndim == 2 and boxes.shape[1] == 4 and scores.shape[:1] == boxes.shape[:1] and scores.ndim in (1, 2)
        if not fit or not len(numbers):
            raise ConfigError(f"task=detection needs boxes (N, 4) and scores (N) or (N, classes); {describe(outputs)}")
        if box_format is BoxFormat.cxcywh:
            centre, half = boxes[:, :2], boxes[:, 2:] / 2
            boxes = np.concatenate([centre - half, centre + half], axis=1)
        if scores.ndim == 1:
            scores = sigmoid(scores) if activation is not Activation.none else scores
            classes = self._classes(outputs, len(boxes))
            kept = self._is_object(classes)
            return boxes[kept], scores[kept].astype(np.float32), classes[kept]
        if activation is Activation.softmax:
            scores = softmax(scores)
        elif activation is Activation.sigmoid:
            scores = sigmoid(scores.astype(np.float32))
        offered = scores[:, numbers]
        return boxes, offered.max(axis=1).astype(np.float32), numbers[offered.argmax(axis=1)]

    def _meaning(self, outputs: Mapping[str, Any]) -> tuple[BoxFormat, Activation, int | None]:
        """Format, activation and background as set, or else as DETR defines its outputs (Carion et al. 2020)."""
        names = [
            (self._outputs[part] or _found(outputs, part) or "").rpartition(".")[2] for part in ("boxes", "scores")
        ]
        if names[0] == "pred_boxes" and names[1] in ("logits", "pred_logits"):
            background = -1 if self._activation is None and self._background is None else self._background
            return self._format or BoxFormat.cxcywh, self._activation or Activation.softmax, background
        return self._format or BoxFormat.xyxy, self._activation or Activation.none, self._background

    def _classes(self, outputs: Mapping[str, Any], count: int) -> NDArray[Any]:
        if not (self._outputs["labels"] or _found(outputs, "labels")):
            return np.zeros(count, np.int64)
        classes = _without_batch(self._find(outputs, "labels"), count)
        if classes.shape != (count,):
            raise ConfigError(f"task=detection needs a label for each of {count} boxes; {describe(outputs)}")
        return classes

    def _is_object(self, classes: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the labels are not that of the background."""
        if self._background is None:
            return np.ones(classes.shape, np.bool_)
        if self._background < 0:
            raise ConfigError(f"task.background={self._background} has no end to count from, as classes are labels")
        kept: NDArray[np.bool_] = classes != self._background
        return kept

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


def _without_batch(value: NDArray[Any], count: int) -> NDArray[Any]:
    """What there is for each of count boxes, without the axis of a batch of one."""
    return value[0] if value.ndim > 1 and value.shape[:2] == (1, count) else value
