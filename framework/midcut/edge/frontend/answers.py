"""Inference results as JSON fields: the task's answer, the timings, the prediction, the decision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from midcut.component import Kind
from midcut.config.build import build
from midcut.config.registry import registry
from midcut.errors import ConfigError
from midcut.graph.outputs import named_leaves
from midcut.tensors import is_tensor, zeros

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from omegaconf import DictConfig

    from midcut.results.stream import Record
    from midcut.types import CutTable, Decision, InferenceResult, LoadedModel, Tensor, ValueSpec

_DEFAULT_TASK: Final = "auto"


def choose_task(cfg: DictConfig, model: LoadedModel, table: CutTable) -> LoadedModel:
    """The model with the answer of the configured task, which is tried on zeros.

    Raises:
        ConfigError: the model's outputs are not those of such a task.
    """
    task = build(Kind.TASK, cfg.task, class_names=model.labels)
    if model.answer is not None and cfg.task._target_ == _default_target():
        return model
    try:
        task.answer({name: _zeros(spec) for name, spec in table.output_specs.items()})
    except Exception as error:  # a plugin's task may raise anything
        raise ConfigError(f"the task does not fit model {model.name!r}: {' '.join(str(error).split())}") from error
    return replace(model, answer=task.answer)


def answer_fields(model: LoadedModel, output: Any) -> dict[str, Any]:
    """What the model's task answers to one input.

    Returns:
        JSON fields; a classifier's are `class`, `label` and `top5`, other tasks name themselves as `task`.
    """
    return dict((model.answer or _default_answer(model))(named_leaves(output)))


def _default_answer(model: LoadedModel) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The answer of a model for which no task was configured, as in tests and benchmarks."""
    node = registry().offers[Kind.TASK, _DEFAULT_TASK].node
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]] = build(Kind.TASK, node, class_names=model.labels).answer
    return answer


def _default_target() -> str:
    return registry().offers[Kind.TASK, _DEFAULT_TASK].component.target


def _zeros(spec: ValueSpec) -> Tensor | int:
    return zeros(spec.dtype, spec.shape) if spec.is_tensor else 0


def leaves(output: Any) -> list[Tensor | int]:
    """The tensors and ints in a nested output, in order."""
    if is_tensor(output) or isinstance(output, int):
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
        **{f"{part}_s": seconds for part, seconds in result.between.items()},
        **({} if result.onward is None else {"second_cut": result.onward.cut, "second_codec": result.onward.codec}),
        "latency_s": result.latency_s,
        "cost_usd": result.cost_usd,
        "sent_bytes": result.sent_bytes,
        "predicted": dict(result.predicted),
    }


def output_fields(
    model: str, answer: Mapping[str, Any], request: Record | InferenceResult, source: str, at_s: float
) -> dict[str, Any]:
    """What an output gets of a request; see `midcut.protocols.Output`.

    Args:
        answer: the answer that the model's task made.
        source: file, input or client that it comes from.
        at_s: when the frame was taken or the request began, seconds since the epoch.
    """
    top = answer.get("top5")
    probability = {"probability": top[0]["probability"] if top else None} if "class" in answer else {}
    return {
        "model": model,
        **probability,
        **{name: value for name, value in answer.items() if name != "top5"},
        "source": source,
        "at_s": at_s,
        "latency_s": request.latency_s,
        "cost_usd": request.cost_usd,
        "cut": request.cut,
        "finished_by": request.finished_by,
        "request_id": request.request_id,
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
