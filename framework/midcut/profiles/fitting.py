"""Fits the clock law of the paper's Figure 4 to profiles (Luger, Aral, Brandic 2023, section 3.1)."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import ConfigError
from midcut.profiles import Fit, Law, ModelLaw, Normalisation, Role, one_image_at_a_time
from midcut.profiles.clock_law import Slopes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from midcut.profiles import Profile
    from midcut.types import Floats

logger = logging.getLogger(__name__)
MIN_CLOCKS = 3
FITTED_SHARE = 0.6


@dataclass(frozen=True)
class Points:
    """One model's measurements.

    Attributes:
        model: its name.
        clock_mhz: settings, ascending, shape (n,).
        slope_s: seconds per layer, shape (n,).
        fitted: which points the curve may see; the others validate it, shape (n,).
    """

    model: str
    clock_mhz: Floats
    slope_s: Floats
    fitted: NDArray[np.bool_]

    def normalised(self, law: ModelLaw) -> Floats:
        """The slopes between the law's bounds."""
        return (self.slope_s - law.lower) / (law.upper - law.lower)


def points(profiles: Sequence[Profile], seed: int) -> list[Points]:
    """Slopes over clocks, 60 % of each model's points drawn for the fit, 40 % left for validation.

    Drawing per model keeps the shares and leaves no model without a point on either side.

    Raises:
        ConfigError: no profile, two of one model, of several machines, a cloud's, or fewer than three clocks.
        FileError: a profile of several images at once.
    """
    if not profiles:
        raise ConfigError("midcut fit needs profiles: say profiles='[A.json,B.json]'")
    names = [profile.model for profile in profiles]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"midcut fit got {names.count(name)} profiles of model {name!r}; give one a model")
    _one_machine(profiles)
    rng = np.random.default_rng(seed)
    return [_points(profile, rng) for profile in profiles]


def _one_machine(profiles: Sequence[Profile]) -> None:
    """The law is one device's: its curve is shared by the models."""
    first, *others = profiles
    for other in others:
        if _machine(other) != _machine(first):
            raise ConfigError(
                f"midcut fit takes profiles of one machine: that of {first.model!r} is of {_machine(first)}, "
                f"that of {other.model!r} of {_machine(other)}"
            )


def _machine(profile: Profile) -> str:
    """What must be equal for seconds to be comparable; a system that was updated in between may differ."""
    machine = profile.machine
    return f"{machine.name} ({machine.processor}, {machine.cores} cores), threads={profile.threads}"


def _points(profile: Profile, rng: np.random.Generator) -> Points:
    if profile.role is not Role.edge:
        raise ConfigError(f"the profile of {profile.model!r} is of role {profile.role}; the clock law is the edge's")
    one_image_at_a_time(profile)
    if not profile.table.layers:
        raise ConfigError(f"{profile.model!r} has no leaf modules, the law counts layers: use predictor/edge=profile")
    clocks = [(run.clock_mhz, run.whole_s / profile.table.layers) for run in profile.runs if run.clock_mhz is not None]
    if len(clocks) < MIN_CLOCKS:
        raise ConfigError(
            f"the profile of {profile.model!r} has {len(clocks)} clock settings, a fit needs {MIN_CLOCKS} or more: "
            "profile it where the clock can be set (cpufreq writable), with clocks_mhz='[600,900,1200,1500]'"
        )
    clock_mhz, slope_s = np.array(sorted(clocks)).T
    if slope_s.max() == slope_s.min():
        raise ConfigError(f"the profile of {profile.model!r} takes the same time at every clock: nothing to fit")
    count = len(clocks)
    fitted = np.zeros(count, dtype=np.bool_)
    fitted[rng.permutation(count)[: min(count - 1, round(FITTED_SHARE * count))]] = True
    return Points(profile.model, clock_mhz, slope_s, fitted)


def fit(profiles: Sequence[Profile], seed: int) -> Fit:
    """Fit all three normalisations. One whose curve does not converge is left out, and said so.

    Raises:
        ConfigError: as `points` does.
    """
    measured = points(profiles, seed)
    clocks = np.concatenate([one.clock_mhz for one in measured])
    used = sum(int(one.fitted.sum()) for one in measured)
    return Fit(
        device=profiles[0].machine.name,
        clock_min_mhz=float(clocks.min()),
        clock_max_mhz=float(clocks.max()),
        seed=seed,
        fitted=used,
        validated=len(clocks) - used,
        modelled=any(profile.modelled for profile in profiles),
        laws=dict(_laws(measured)),
        points={one.model: _kept(one) for one in measured},
    )


def _kept(one: Points) -> Slopes:
    clock_mhz, slope_s, fitted = one.clock_mhz.tolist(), one.slope_s.tolist(), one.fitted.tolist()
    return Slopes(tuple(clock_mhz), tuple(slope_s), tuple(fitted))


def kept_points(fitted: Fit) -> list[Points]:
    """The points of a fit read back from its file; empty where they were not kept."""
    return [
        Points(model, np.array(one.clock_mhz), np.array(one.slope_s), np.array(one.fitted, dtype=np.bool_))
        for model, one in fitted.points.items()
    ]


def _laws(measured: Sequence[Points]) -> Iterator[tuple[Normalisation, Law]]:
    for name in Normalisation:
        try:
            yield name, _law(measured, name)
        except RuntimeError as error:  # scipy's word for "no convergence"
            logger.warning("no power law fits the slopes normalised by %s: %s", name.value, error)


def _law(measured: Sequence[Points], name: Normalisation) -> Law:
    if name is Normalisation.loglog:
        models = {one.model: _straight_line(one) for one in measured}
    else:
        bounds = {
            one.model: ModelLaw(
                0.0, 0.0, float(one.slope_s.max()), float(one.slope_s.min()) if name is Normalisation.minmax else 0.0
            )
            for one in measured
        }
        x = np.concatenate([one.clock_mhz[one.fitted] for one in measured])
        y = np.concatenate([one.normalised(bounds[one.model])[one.fitted] for one in measured])
        a, b = power_law(x, y)
        models = {model: ModelLaw(a, b, one.upper, one.lower) for model, one in bounds.items()}
    return _judged(measured, models, from_min=name is Normalisation.minmax)


def power_law(clock_mhz: Floats, normalised: Floats) -> tuple[float, float]:
    """Fit a * clock ** b by least squares.

    Raises:
        RuntimeError: the fit does not converge.
    """
    from scipy.optimize import OptimizeWarning, curve_fit  # noqa: PLC0415 - half a second

    reference = float(clock_mhz.min())  # keeps both parameters near 1 while fitting
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # two points leave no covariance; it is not used
        (scale, b), _ = curve_fit(lambda x, a, b: a * x**b, clock_mhz / reference, normalised, p0=(1.0, -1.0))
    return float(scale / reference**b), float(b)


def _straight_line(one: Points) -> ModelLaw:
    b, log_a = np.polyfit(np.log(one.clock_mhz[one.fitted]), np.log(one.slope_s[one.fitted]), 1)
    return ModelLaw(a=float(np.exp(log_a)), b=float(b), upper=1.0, lower=0.0)


def predicted_slope_s(law: ModelLaw, clock_mhz: Floats) -> Floats:
    """Eq. 1 and 2 without the layer: seconds per layer."""
    slope_s: Floats = law.a * clock_mhz**law.b * (law.upper - law.lower) + law.lower
    return slope_s


def _judged(measured: Sequence[Points], models: dict[str, ModelLaw], *, from_min: bool) -> Law:
    """Compare with the points the fit has not seen: relative errors of the slopes, R2 of the normalised ones."""
    truth, guess, error = [], [], []
    for one in measured:
        left_out, low = ~one.fitted, one.slope_s.min() if from_min else 0.0
        slope_s = one.slope_s[left_out]
        predicted_s = predicted_slope_s(models[one.model], one.clock_mhz[left_out])
        error.append(np.abs(predicted_s - slope_s) / slope_s)
        truth.append((slope_s - low) / (one.slope_s.max() - low))
        guess.append((predicted_s - low) / (one.slope_s.max() - low))
    y, y_hat = np.concatenate(truth), np.concatenate(guess)
    spread = float(((y - y.mean()) ** 2).sum())
    r2 = 1.0 - float(((y - y_hat) ** 2).sum()) / spread if spread > 0.0 else None
    errors = np.concatenate(error)
    return Law(models=models, r2=r2, mean_error=float(errors.mean()), max_error=float(errors.max()))
