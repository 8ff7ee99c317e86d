"""Settings of the tasks that come with midcut."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass
class AutoConfig:
    """The task is guessed from names and shapes of the outputs. No settings."""


@dataclass
class ClassificationConfig:
    """The most likely classes, from one row of scores.

    Attributes:
        output: name of the output with the scores, shape (1, classes); null takes the first that fits.
        top: how many of the most likely classes to list.
    """

    output: str | None = None
    top: int = 5


@dataclass
class SegmentationConfig:
    """The class of every pixel.

    Attributes:
        output: name of the output, shape (1, classes, height, width); null takes the first that fits. One class is a
            mask: its score is a logit, or a probability if all are from 0 to 1.
        map: whether to add the classes of all pixels as a PNG in base64.
    """

    output: str | None = None
    map: bool = True


class BoxFormat(Enum):
    """Corners (x1, y1, x2, y2), or centre and size (x, y, width, height)."""

    xyxy = "xyxy"
    cxcywh = "cxcywh"


class Activation(Enum):
    """What makes probabilities of the scores; none if they are probabilities already."""

    none = "none"
    sigmoid = "sigmoid"
    softmax = "softmax"


@dataclass
class DetectionConfig:
    """Objects with boxes, in the coordinates of the model's output; overlapping boxes of a class are suppressed (NMS).

    Attributes:
        boxes, scores, labels: names of outputs; null finds `boxes` or `pred_boxes`, `scores` or `logits`, `labels`.
            Without labels, the last axis of the scores is that of the classes.
        format: of the boxes; null is cxcywh for outputs named as DETR's (`pred_boxes` and logits), else xyxy.
        activation: what makes probabilities of the scores; null is none, but softmax with the last class as background
            for outputs named as DETR's. Models of the same names without such a class (RT-DETR) need sigmoid.
        background: index of the class for no object, negative from the end; null is none.
        min_score: objects below it are dropped.
        max_iou: of two boxes of a class that overlap more than this, the less likely one is dropped; 1 keeps all.
        most: the most objects to list.
    """

    boxes: str | None = None
    scores: str | None = None
    labels: str | None = None
    format: BoxFormat | None = None
    activation: Activation | None = None
    background: int | None = None
    min_score: float = 0.5
    max_iou: float = 0.5
    most: int = 100


@dataclass
class EmbeddingConfig:
    """The output as a vector.

    Attributes:
        output: its name; null takes the first with one axis besides the batch.
        normalise: whether to scale the vector to length 1.
    """

    output: str | None = None
    normalise: bool = False


@dataclass
class TokensConfig:
    """The most likely next tokens, from logits.

    Attributes:
        output: name of the output, shape (1, tokens, vocabulary); null takes the first that fits.
        top: how many of the most likely tokens to list for a position.
        last_only: whether to answer for the last position alone, or for every position.
    """

    output: str | None = None
    top: int = 5
    last_only: bool = True
