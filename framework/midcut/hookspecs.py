"""The hooks that a plugin may implement, all of them optional. This module contains no logic.

A plugin is any module (or object) that an entry point of the group `midcut` names:

    [project.entry-points.midcut]
    mine = "my_package.hooks"

Mark each implementation with `midcut.hookimpl`. The hooks that return components are called once, at start. The
observer hooks (`midcut_decided`, `midcut_inferred`) are called while midcut runs; an exception in one of them is logged
with the plugin's name and has no other effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.component import Component
    from midcut.fields import ObservationField
    from midcut.types import Decision, InferenceResult

PROJECT = "midcut"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def midcut_models() -> Sequence[Component]:
    """Offer models: each target returns a `midcut.protocols.Model`. Config group `model`.

    The target is called with the keyword `name`, the component's, beside its config.
    """
    raise NotImplementedError


@hookspec
def midcut_telemetry_sources() -> Sequence[Component]:
    """Offer telemetry: each target returns a `midcut.protocols.TelemetrySource`. Config group `telemetry`."""
    raise NotImplementedError


@hookspec
def midcut_observation_fields() -> Sequence[ObservationField]:
    """Name further fields of an observation (`midcut.fields.ObservationField`), with their units and bounds.

    Telemetry sources may then give them, traces record them, and predictors, cost models and objectives read them.
    """
    raise NotImplementedError


@hookspec
def midcut_latency_predictors() -> Mapping[str, Sequence[Component]]:
    """Offer latency predictors by role: keys `edge`, `link`, `cloud`.

    Each target returns a `midcut.protocols.LatencyPredictor` and is called with the keyword `placements`
    (`midcut.types.Placements`) beside its config. Config groups `predictor/edge`, `predictor/link`, `predictor/cloud`.
    """
    raise NotImplementedError


@hookspec
def midcut_cost_models() -> Sequence[Component]:
    """Offer cost models: each target returns a `midcut.protocols.CostModel`. Config group `cost`."""
    raise NotImplementedError


@hookspec
def midcut_objectives() -> Sequence[Component]:
    """Offer objectives: each target returns a `midcut.protocols.Objective`. Config group `objective`.

    The target is called with the keyword `placements` (`midcut.types.Placements`) beside its config.
    """
    raise NotImplementedError


@hookspec
def midcut_planners() -> Sequence[Component]:
    """Offer planners: each target returns a `midcut.protocols.Planner`. Config group `planner`."""
    raise NotImplementedError


@hookspec
def midcut_transports() -> Sequence[Component]:
    """Offer transports: each target returns a `midcut.protocols.Transport`. Config group `transport`.

    The target is called with the keyword `codecs` (a mapping from names to `midcut.protocols.Codec`) beside its config.
    """
    raise NotImplementedError


@hookspec
def midcut_executors() -> Sequence[Component]:
    """Offer executors: each target returns a `midcut.protocols.Executor`. Config group `executor`."""
    raise NotImplementedError


@hookspec
def midcut_codecs() -> Sequence[Component]:
    """Offer codecs: each target returns a `midcut.protocols.Codec`. Config group `codec`.

    The target is called with the keyword `name`, the component's, beside its config.
    """
    raise NotImplementedError


@hookspec
def midcut_tasks() -> Sequence[Component]:
    """Offer tasks: each target returns a `midcut.protocols.Task`. Config group `task`.

    The target is called with the keyword `class_names` (the model's labels) beside its config.
    """
    raise NotImplementedError


@hookspec
def midcut_inputs() -> Sequence[Component]:
    """Offer inputs of an edge: each target returns a `midcut.protocols.Input`. Config group `input`."""
    raise NotImplementedError


@hookspec
def midcut_outputs() -> Sequence[Component]:
    """Offer outputs for results: each target returns a `midcut.protocols.Output`. Config group `output`."""
    raise NotImplementedError


@hookspec
def midcut_config_path() -> str:
    """Return a folder of YAML presets as a Hydra search path, e.g. `pkg://my_package.conf`."""
    raise NotImplementedError


@hookspec
def midcut_decided(decision: Decision) -> None:
    """Observe a decision of the planning loop.

    Called on the planning thread after each planning step, also if the cut does not change. It delays the next planning
    step, but no inference.

    Args:
        decision: the chosen placement, with the forecast and the observation it is based on.
    """


@hookspec
def midcut_inferred(result: InferenceResult) -> None:
    """Observe an answered inference request.

    Called once per request, after the answer is complete and before it is returned. It runs on the event loop that
    serves all requests, so it must not block; longer work belongs on a thread of the plugin's own.

    Args:
        result: the output, where it was computed, measured and predicted times, and cost.
    """
