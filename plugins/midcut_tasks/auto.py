"""The task that names and shapes of a model's outputs suggest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midcut.errors import ConfigError
from midcut_tasks.classification import Classification
from midcut_tasks.detection import Detection, finds_boxes
from midcut_tasks.segmentation import Segmentation
from midcut_tasks.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Auto:
    """Detection where outputs are named boxes and scores; else by shape: classification, segmentation, tokens.

    Outputs that fit none of them are described: name, dtype, shape.
    """

    def __init__(self, class_names: Sequence[str] = ()) -> None:
        self._detection = Detection(class_names)
        self._by_shape = (Classification(class_names), Segmentation(class_names), Tokens(class_names))

    def answer(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        # The scores of boxes would pass for those of classes.
        for task in (self._detection,) if finds_boxes(outputs) else self._by_shape:
            try:
                return task.answer(outputs)
            except ConfigError:
                continue
        return {"task": "tensors", "outputs": [_description(name, value) for name, value in outputs.items()]}


def _description(name: str, value: Any) -> dict[str, Any]:
    shape = list(getattr(value, "shape", ()))
    return {
        "name": name,
        "dtype": str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch."),
        "shape": shape,
    }
