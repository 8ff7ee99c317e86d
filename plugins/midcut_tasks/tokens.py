"""The most likely next tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midcut_tasks.choosing import NotFinite, are_decided, choose, is_float, label, largest, softmax

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Tokens:
    """Answers with the most likely tokens of each `position`; the model's labels are the vocabulary."""

    def __init__(
        self, class_names: Sequence[str] = (), output: str | None = None, top: int = 5, *, last_only: bool = True
    ) -> None:
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        self._labels, self._output, self._top, self._last_only = class_names, output, top, last_only
        self._not_finite = NotFinite("tokens")

    def answer(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        logits = choose(outputs, self._output, _are_logits, "tokens", "(1, tokens, vocabulary)")[0]
        first = logits.shape[0] - 1 if self._last_only else 0
        if not are_decided(logits[first:], axis=-1):
            return {"task": "tokens", "tokens": [], **self._not_finite.reason("logits")}
        return {
            "task": "tokens",
            "tokens": [
                {
                    "position": position,
                    "top": [
                        {
                            "token": index,
                            "label": label(self._labels, index),
                            "probability": float(probabilities[index]),
                        }
                        for index in largest(probabilities, self._top)
                    ],
                }
                for position, probabilities in enumerate(softmax(logits[first:]), start=first)
            ],
        }


def _are_logits(value: NDArray[Any]) -> bool:
    return value.ndim == 3 and value.shape[0] == 1 and value.size > 0 and is_float(value)
