"""Predictors of the paper's computation latency, linear in the layer (Luger, Aral, Brandic 2023, section 3.1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import ConfigError
from midcut.planning import positive_field
from midcut.profiles import Fit, ModelLaw, Normalisation, Role, find_fit, wrong_law
from midcut_predictors.profiled import fastest_run, find_matching_profile, profile_text
from midcut_predictors.ranges import ClockRange, clocks_text

if TYPE_CHECKING:
    from midcut.types import Floats, Observation, Placements


class PowerLaw:
    """Edge latency ((a * CS ** b) * (upper - lower) + lower) * SP (Eq. 1 and 2).

    Eq. 2's bounds undo the normalisation under which the curve was fitted. Outside the fitted clock range the law is
    an extrapolation, which is logged once.
    """

    needs = frozenset({"clock_mhz"})

    def __init__(
        self,
        placements: Placements,
        fit: str = "pi4",
        normalisation: Normalisation | str = Normalisation.minmax,
        a: float | None = None,
        b: float | None = None,
        upper: float | None = None,
        lower: float | None = None,
    ) -> None:
        _check_pair("a", a, "b", b)
        _check_pair("upper", upper, "lower", lower)
        self.based_on = ""
        self._range: ClockRange | None = None
        if a is None or b is None or upper is None or lower is None:
            fitted = find_fit(fit)
            law = _find_law(fitted, fit, Normalisation(normalisation), placements.model)
            curve = (law.a, law.b) if a is None or b is None else (a, b)
            bounds = (law.upper, law.lower) if upper is None or lower is None else (upper, lower)
            low, high = fitted.clock_min_mhz, fitted.clock_max_mhz
            self.based_on = (
                f"fit to {fitted.device}{' (modelled)' if fitted.modelled else ''}, {clocks_text(low, high)}"
            )
            self._range = ClockRange(low, high, f"fit {fit!r}: the power law extrapolates")
        else:
            curve, bounds = (a, b), (upper, lower)
        if reason := wrong_law(ModelLaw(*curve, *bounds)):
            raise ConfigError(f"predictor.edge: {reason}")
        self._a, self._b = curve
        self._upper, self._lower = bounds
        self._layer = placements.layer.astype(np.float64)

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`."""
        clock_mhz = positive_field(observation, "clock_mhz")
        if self._range is not None:
            self._range.check(clock_mhz)
        slope = (self._a * clock_mhz**self._b) * (self._upper - self._lower) + self._lower
        seconds: Floats = slope * self._layer
        return seconds


class CloudLinear:
    """Cloud latency slope * (layers - SP): linear as at the edge, without the clock."""

    needs: frozenset[str] = frozenset()

    def __init__(self, placements: Placements, profile: str = "cloud", slope_s: float | None = None) -> None:
        self.based_on = ""
        if slope_s is None:
            node_profile = find_matching_profile(placements, profile, Role.cloud)
            if not node_profile.table.layers:
                raise ConfigError(
                    f"model {placements.model!r} has no leaf modules, and a linear predictor counts layers: "
                    "use predictor/cloud=profile"
                )
            slope_s = fastest_run(node_profile).whole_s / node_profile.table.layers
            self.based_on = profile_text(node_profile)
        if not 0.0 <= slope_s < math.inf:
            raise ConfigError(f"predictor.cloud.slope_s must be seconds per layer, 0 or more, got {slope_s}")
        self._seconds: Floats = slope_s * (placements.layers - placements.layer).astype(np.float64)

    def seconds(self, observation: Observation) -> Floats:  # noqa: ARG002 - a cloud's clock is fixed
        """See `midcut.protocols.LatencyPredictor`."""
        return self._seconds


def _find_law(fit: Fit, spec: str, normalisation: Normalisation, model: str) -> ModelLaw:
    if normalisation not in fit.laws:
        raise ConfigError(f"fit {spec!r} has no law {normalisation.value!r}; it has: {', '.join(fit.laws)}")
    laws = fit.laws[normalisation].models
    if model not in laws:
        raise ConfigError(
            f"fit {spec!r} has no model {model!r}, it has: {', '.join(sorted(laws))}; "
            f"profile it and fit again: midcut profile model={model}, "
            "midcut fit profiles='[...]', then predictor.edge.fit=FILE"
        )
    return laws[model]


def _check_pair(name: str, value: float | None, other_name: str, other_value: float | None) -> None:
    if (value is None) != (other_value is None):
        raise ConfigError(f"predictor.edge: set both {name} and {other_name}, or neither")
