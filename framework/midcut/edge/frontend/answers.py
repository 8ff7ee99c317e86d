"""Inference results as JSON fields: the class, the timings, the prediction, the decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.types import Decision, InferenceResult


def classification(output: Any, labels: Sequence[str]) -> dict[str, Any]:
    """Class, label and the five most likely classes of a classifier's output for one sample.

    Returns:
        JSON fields; `class` is None if the output is not one row of scores, shape (1, classes).
    """
    if (
        not isinstance(output, torch.Tensor)
        or output.ndim != 2
        or output.shape[0] != 1
        or not output.is_floating_point()
    ):
        return {"class": None, "label": "", "top5": []}
    scores = torch.softmax(output[0].double(), dim=0)
    best = torch.topk(scores, min(5, scores.numel()))
    top = [
        {"class": int(index), "label": _label(labels, int(index)), "probability": float(probability)}
        for probability, index in zip(best.values, best.indices, strict=True)
    ]
    index = int(output[0].argmax())
    return {"class": index, "label": _label(labels, index), "top5": top}


def leaves(output: Any) -> list[torch.Tensor | int]:
    """The tensors and ints in a nested output, in order."""
    if isinstance(output, torch.Tensor | int):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    return [leaf for part in output for leaf in leaves(part)] if isinstance(output, list | tuple) else []


def result_fields(result: InferenceResult) -> dict[str, Any]:
    """The figures of one request as flat JSON fields, for a file or an answer."""
    return {
        "request_id": result.request_id,
        "cut": result.cut,
        "codec": result.codec,
        "finished_by": result.finished_by,
        "fallback": result.fallback,
        "edge_s": result.edge_s,
        "link_s": result.link_s,
        "cloud_s": result.cloud_s,
        "latency_s": result.latency_s,
        "cost_usd": result.cost_usd,
        "sent_bytes": result.sent_bytes,
        "predicted": dict(result.predicted),
    }


def decision_fields(decision: Decision, *, table: bool = False) -> dict[str, Any]:
    """A decision as JSON fields; with `table`, also every row of its forecast."""
    observation = decision.observation
    rows: dict[str, Any] = {"limit": decision.limit, "met": decision.met} if decision.limit else {}
    if table and decision.forecast is not None:
        rows["forecast"] = [decision.forecast.row(index) for index in range(len(decision.forecast))]
    return {
        "cut": decision.placement.cut,
        "codec": decision.placement.codec,
        "reason": decision.reason,
        "weight": decision.weight,
        "planning_s": decision.planning_s,
        "observation": {
            **observation.values(),
            "at_s": observation.at_s,
            "source": dict(observation.source),
            "age_s": dict(observation.age_s),
            "missing": dict(observation.missing),
        },
        **rows,
    }


def _label(labels: Sequence[str], index: int) -> str:
    return labels[index] if index < len(labels) else ""
