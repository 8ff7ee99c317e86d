"""Predictors of computation from what each node computes: for models that were never profiled on the device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import ConfigError, FileError
from midcut.planning import non_negative_field, positive_field
from midcut.profiles import LayerFit, Role, find_layer_fit
from midcut_predictors.profiled import seconds_before
from midcut_predictors.ranges import ClockRange, clocks_text

if TYPE_CHECKING:
    from midcut.types import Floats, Observation, Placements


class EdgeLayers:
    """Edge latency: the sum over the nodes before the cut, each by the law of its kind (Kang et al. 2017)."""

    def __init__(self, placements: Placements, fit: str = "pi4") -> None:
        laws = _matching_fit(placements, fit, Role.edge)
        self.based_on = _fit_text(laws)
        core, memory = laws.seconds(placements.graph_nodes)
        self._core, self._memory = (seconds_before(part)[placements.cut] for part in (core, memory))
        self._reference_mhz = laws.clock_mhz or 0.0
        self.needs = frozenset({"clock_mhz"}) if self._reference_mhz else frozenset[str]()
        self._range = ClockRange(
            laws.clock_min_mhz or 0.0, self._reference_mhz, f"layer fit {fit!r} ({laws.device}): it extrapolates"
        )

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`."""
        if not self._reference_mhz:
            return self._core + self._memory
        clock_mhz = positive_field(observation, "clock_mhz")
        self._range.check(clock_mhz)
        seconds: Floats = self._core * (self._reference_mhz / clock_mhz) + self._memory
        return seconds


class CloudLayers:
    """Cloud latency: the sum over the nodes after the cut, times 1 + load (Kang et al. 2017, server load)."""

    needs: frozenset[str] = frozenset()

    def __init__(self, placements: Placements, fit: str = "cloud", load: float = 0.0) -> None:
        if not 0.0 <= load < math.inf:
            raise ConfigError(f"predictor.cloud.load must be a finite number, 0 or more, got {load}")
        laws = _matching_fit(placements, fit, Role.cloud)
        self.based_on = _fit_text(laws)
        node_s = np.sum(laws.seconds(placements.graph_nodes), axis=0)
        # Summed from the back, so that rounding leaves exactly 0 at the last cut.
        self._idle_s = seconds_before(node_s[::-1])[::-1][placements.cut]
        self._seconds = self._idle_s * (1.0 + load)

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`. An observed `cloud_load` counts instead of the configured one."""
        if "cloud_load" not in observation.others:
            return self._seconds
        busy_s: Floats = self._idle_s * (1.0 + non_negative_field(observation, "cloud_load"))
        return busy_s


def _matching_fit(placements: Placements, spec: str, role: Role) -> LayerFit:
    laws = find_layer_fit(spec)
    if laws.role is not role:
        raise FileError(f"layer fit {spec!r} is of role {laws.role}; predictor/{role} needs one of role {role}")
    if not placements.graph_nodes or not all(node.kind for node in placements.graph_nodes):
        raise ConfigError(
            f"predictor/{role}=layers needs what each node of {placements.model!r} computes, but its profile is of an "
            f"older version and does not say: profile it again, on any machine: midcut profile model={placements.model}"
        )
    return laws


def _fit_text(laws: LayerFit) -> str:
    clocks = laws.clock_mhz and f", {clocks_text(laws.clock_min_mhz or laws.clock_mhz, laws.clock_mhz)}"
    modelled = " (modelled)" if laws.modelled else ""
    return f"layer fit to {len(laws.models)} models on {laws.device}{modelled}{clocks or ''}"
