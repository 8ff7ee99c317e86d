"""The hooks a plugin may implement. No logic here: the contract, and the two markers.

A plugin is any module (or object) named by an entry point of the group `midcut`:

    [project.entry-points.midcut]
    mine = "my_package.hooks"

The hooks that return components are asked once, at start. The observer hooks are called while
midcut runs; what they raise is logged with the plugin's name and goes no further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.component import Component
    from midcut.types import Decision, InferenceResult

PROJECT = "midcut"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def midcut_models() -> Sequence[Component]:
    """Offer models: each target returns a `midcut.protocols.Model`. Config group `model`."""
    raise NotImplementedError


@hookspec
def midcut_telemetry_sources() -> Sequence[Component]:
    """Offer telemetry: each target returns a `midcut.protocols.TelemetrySource`. Group `telemetry`."""
    raise NotImplementedError


@hookspec
def midcut_latency_predictors() -> Mapping[str, Sequence[Component]]:
    """Offer latency predictors by role: keys `edge`, `link`, `cloud`.

    Each target returns a `midcut.protocols.LatencyPredictor` and is called with the keyword
    `placements` (`midcut.types.Placements`) beside its config. Groups `predictor/edge`,
    `predictor/link`, `predictor/cloud`.
    """
    raise NotImplementedError


@hookspec
def midcut_cost_models() -> Sequence[Component]:
    """Offer cost models: each target returns a `midcut.protocols.CostModel`. Config group `cost`."""
    raise NotImplementedError


@hookspec
def midcut_planners() -> Sequence[Component]:
    """Offer planners: each target returns a `midcut.protocols.Planner`. Config group `planner`."""
    raise NotImplementedError


@hookspec
def midcut_transports() -> Sequence[Component]:
    """Offer transports: each target returns a `midcut.protocols.Transport`. Group `transport`.

    It is called with the keyword `codecs` (by name, `midcut.protocols.Codec`) beside its config.
    """
    raise NotImplementedError


@hookspec
def midcut_executors() -> Sequence[Component]:
    """Offer executors: each target returns a `midcut.protocols.Executor`. Config group `executor`."""
    raise NotImplementedError


@hookspec
def midcut_codecs() -> Sequence[Component]:
    """Offer codecs: each target returns a `midcut.protocols.Codec`. Config group `codec`.

    It is called with the keyword `name`, the component's, beside its config.
    """
    raise NotImplementedError


@hookspec
def midcut_config_path() -> str:
    """Name a folder of YAML presets, as a Hydra search path (`pkg://my_package.conf`)."""
    raise NotImplementedError


@hookspec
def midcut_decided(decision: Decision) -> None:
    """Observe a decision.

    Called on the planning thread after each planning step, also when the cut stays where it is. No inference
    waits for it; the next planning step does.

    Args:
        decision: the placement picked, with the forecast and the observation it was made on.
    """


@hookspec
def midcut_inferred(result: InferenceResult) -> None:
    """Observe an answered request.

    Called once a request, after the answer is complete and before it is returned. It runs on the event loop that
    serves all requests: it must not block. What takes longer belongs on a thread of the observer's own.

    Args:
        result: the output, where it was computed, measured and predicted times, and cost.
    """
