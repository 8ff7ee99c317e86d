"""Classes with probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from midcut_tasks.choosing import choose, label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Classification:
    """Answers with `class`, `label` and the most likely classes as `top5`."""

    def __init__(self, class_names: Sequence[str] = (), output: str | None = None, top: int = 5) -> None:
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        self._labels, self._output, self._top = class_names, output, top

    def answer(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        scores = choose(outputs, self._output, _is_row, "classification", "(1, classes)")[0]
        probabilities = torch.softmax(scores.double(), dim=0)
        best = torch.topk(probabilities, min(self._top, probabilities.numel()))
        top = [
            {"class": int(index), "label": label(self._labels, int(index)), "probability": float(probability)}
            for probability, index in zip(best.values, best.indices, strict=True)
        ]
        index = int(scores.argmax())
        return {"class": index, "label": label(self._labels, index), "top5": top}


def _is_row(value: torch.Tensor) -> bool:
    return value.ndim == 2 and value.shape[0] == 1 and value.shape[1] > 0 and value.is_floating_point()
