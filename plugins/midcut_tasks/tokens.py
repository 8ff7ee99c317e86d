"""The most likely next tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from midcut_tasks.choosing import choose, label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Tokens:
    """Answers with the most likely tokens of each `position`; the model's labels are the vocabulary."""

    def __init__(
        self, class_names: Sequence[str] = (), output: str | None = None, top: int = 5, *, last_only: bool = True
    ) -> None:
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        self._labels, self._output, self._top, self._last_only = class_names, output, top, last_only

    def answer(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        logits = choose(outputs, self._output, _are_logits, "tokens", "(1, tokens, vocabulary)")[0]
        first = logits.shape[0] - 1 if self._last_only else 0
        best = torch.topk(logits[first:].double().softmax(dim=1), min(self._top, logits.shape[1]), dim=1)
        rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return {
            "task": "tokens",
            "tokens": [
                {
                    "position": position,
                    "top": [
                        {"token": index, "label": label(self._labels, index), "probability": probability}
                        for probability, index in zip(probabilities, indices, strict=True)
                    ],
                }
                for position, (probabilities, indices) in enumerate(rows, start=first)
            ],
        }


def _are_logits(value: torch.Tensor) -> bool:
    return value.ndim == 3 and value.shape[0] == 1 and value.numel() > 0 and value.is_floating_point()
