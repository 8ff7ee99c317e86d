"""Classes with probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midcut_tasks.choosing import NotFinite, are_decided, choose, is_float, label, largest, softmax

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Classification:
    """Answers with `class`, `label` and the most likely classes as `top5`; no class where scores are not finite."""

    def __init__(self, class_names: Sequence[str] = (), output: str | None = None, top: int = 5) -> None:
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        self._labels, self._output, self._top = class_names, output, top
        self._not_finite = NotFinite("classification")

    def answer(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        scores = choose(outputs, self._output, _is_row, "classification", "(1, classes)")[0]
        if not are_decided(scores, axis=0):
            return {"class": None, "label": "", "top5": [], **self._not_finite.reason("scores")}
        probabilities = softmax(scores)
        top = [
            {"class": index, "label": label(self._labels, index), "probability": float(probabilities[index])}
            for index in largest(probabilities, self._top)
        ]
        index = int(scores.argmax())
        return {"class": index, "label": label(self._labels, index), "top5": top}


def _is_row(value: NDArray[Any]) -> bool:
    return value.ndim == 2 and value.shape[0] == 1 and value.shape[1] > 0 and is_float(value)
