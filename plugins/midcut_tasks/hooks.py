"""The tasks that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_tasks.config import (
    AutoConfig,
    ClassificationConfig,
    DetectionConfig,
    EmbeddingConfig,
    SegmentationConfig,
    TokensConfig,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_tasks() -> Sequence[Component]:
    return (
        Component(
            "auto", AutoConfig, "midcut_tasks.auto.Auto", "the task that names and shapes of the outputs suggest"
        ),
        Component(
            "classification",
            ClassificationConfig,
            "midcut_tasks.classification.Classification",
            "the most likely classes",
        ),
        Component(
            "segmentation", SegmentationConfig, "midcut_tasks.segmentation.Segmentation", "the class of every pixel"
        ),
        Component("detection", DetectionConfig, "midcut_tasks.detection.Detection", "objects with boxes, after NMS"),
        Component("embedding", EmbeddingConfig, "midcut_tasks.embedding.Embedding", "the output as a vector"),
        Component("tokens", TokensConfig, "midcut_tasks.tokens.Tokens", "the most likely next tokens"),
    )
