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
    """Measured slopes of one model, as arrays.

    Attributes:
        model: its name.
        clock_mhz: settings, ascending, shape (n,).
        slope_s: seconds per layer, shape (n,).
        fitted: True for points that the curve is fitted to, False for validation points, shape (n,).
    """

    model: str
    clock_mhz: Floats
    slope_s: Floats
    fitted: NDArray[np.bool_]

    def normalised(self, law: ModelLaw) -> Floats:
        """The slopes scaled so that the law's lower bound is 0 and its upper bound is 1."""
        return (self.slope_s - law.lower) / (law.upper - law.lower)


def split_points(profiles: Sequence[Profile], seed: int) -> list[Points]:
    """Slopes over clocks; of each model's points 60 % are drawn for the fit and 40 % are left for validation.

    Drawing per model keeps the shares, and every model has points on both sides.

    Raises:
        ConfigError: no profile, two of one model, of several machines, a cloud's, or fewer than three clocks.
        FileError: a profile of several images at once.
    """
    if not profiles:
        raise ConfigError("midcut fit needs profiles: give profiles='[A.json,B.json]'")
    names = [profile.model for profile in profiles]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"midcut fit got {names.count(name)} profiles of model {name!r}; give one per model")
    _check_same_machine(profiles)
    rng = np.random.default_rng(seed)
    return [_split_profile(profile, rng) for profile in profiles]


def _check_same_machine(profiles: Sequence[Profile]) -> None:
    """The models share one curve, which belongs to one device."""
    first, *others = profiles
    for other in others:
        if _machine_text(other) != _machine_text(first):
            raise ConfigError(
                f"midcut fit takes profiles of one machine: that of {first.model!r} is of {_machine_text(first)}, "
                f"that of {other.model!r} of {_machine_text(other)}"
            )


def _machine_text(profile: Profile) -> str:
    """What must be equal for seconds to be comparable. The system is left out: an update in between may change it."""
    machine = profile.machine
    return f"{machine.name} ({machine.processor}, {machine.cores} cores), threads={profile.threads}"


def _split_profile(profile: Profile, rng: np.random.Generator) -> Points:
    if profile.role is not Role.edge:
        raise ConfigError(f"the profile of {profile.model!r} is of role {profile.role}; the clock law is the edge's")
    one_image_at_a_time(profile)
    if not profile.table.layers:
        raise ConfigError(
            f"{profile.model!r} has no leaf modules, but the clock law counts layers: use predictor/edge=profile"
        )
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
    """Fit the law under all three normalisations. One whose curve does not converge is left out, with a warning.

    Raises:
        ConfigError: see `split_points`.
    """
    by_model = split_points(profiles, seed)
    clocks = np.concatenate([points.clock_mhz for points in by_model])
    fitted = sum(int(points.fitted.sum()) for points in by_model)
    return Fit(
        device=profiles[0].machine.name,
        clock_min_mhz=float(clocks.min()),
        clock_max_mhz=float(clocks.max()),
        seed=seed,
        fitted=fitted,
        validated=len(clocks) - fitted,
        modelled=any(profile.modelled for profile in profiles),
        laws=dict(_fit_laws(by_model)),
        points={
            points.model: Slopes(
                tuple(points.clock_mhz.tolist()), tuple(points.slope_s.tolist()), tuple(points.fitted.tolist())
            )
            for points in by_model
        },
    )


def points_of(fitted: Fit) -> list[Points]:
    """The points that a fit was made from; empty for files of older versions, which do not contain them."""
    return [
        Points(model, np.array(slopes.clock_mhz), np.array(slopes.slope_s), np.array(slopes.fitted, dtype=np.bool_))
        for model, slopes in fitted.points.items()
    ]


def _fit_laws(by_model: Sequence[Points]) -> Iterator[tuple[Normalisation, Law]]:
    for name in Normalisation:
        try:
            yield name, _fit_law(by_model, name)
        except RuntimeError as error:  # scipy raises it when a fit does not converge
            logger.warning("no power law fits the slopes normalised by %s: %s", name.value, error)


def _fit_law(by_model: Sequence[Points], name: Normalisation) -> Law:
    if name is Normalisation.loglog:
        models = {points.model: _fit_straight_line(points) for points in by_model}
    else:
        from_min = name is Normalisation.minmax
        bounds = {
            points.model: ModelLaw(
                0.0, 0.0, float(points.slope_s.max()), float(points.slope_s.min()) if from_min else 0.0
            )
            for points in by_model
        }
        x = np.concatenate([points.clock_mhz[points.fitted] for points in by_model])
        y = np.concatenate([points.normalised(bounds[points.model])[points.fitted] for points in by_model])
        a, b = fit_power_law(x, y)
        models = {model: ModelLaw(a, b, bound.upper, bound.lower) for model, bound in bounds.items()}
    return _validated_law(by_model, models, from_min=name is Normalisation.minmax)


def fit_power_law(clock_mhz: Floats, normalised: Floats) -> tuple[float, float]:
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


def _fit_straight_line(points: Points) -> ModelLaw:
    """Fit a straight line to the logarithms of clocks and slopes."""
    b, log_a = np.polyfit(np.log(points.clock_mhz[points.fitted]), np.log(points.slope_s[points.fitted]), 1)
    return ModelLaw(a=float(np.exp(log_a)), b=float(b), upper=1.0, lower=0.0)


def predicted_slope_s(law: ModelLaw, clock_mhz: Floats) -> Floats:
    """Predict the slope, in seconds per layer, at the given clocks (Eq. 1 and 2)."""
    slope_s: Floats = law.a * clock_mhz**law.b * (law.upper - law.lower) + law.lower
    return slope_s


def _validated_law(by_model: Sequence[Points], models: dict[str, ModelLaw], *, from_min: bool) -> Law:
    """Compare the fitted models with the validation points: relative errors of slopes, R² of normalised slopes."""
    true, predicted, errors = [], [], []
    for points in by_model:
        validation, low = ~points.fitted, points.slope_s.min() if from_min else 0.0
        span = points.slope_s.max() - low
        slope_s = points.slope_s[validation]
        predicted_s = predicted_slope_s(models[points.model], points.clock_mhz[validation])
        errors.append(np.abs(predicted_s - slope_s) / slope_s)
        true.append((slope_s - low) / span)
        predicted.append((predicted_s - low) / span)
    y, y_hat, error = np.concatenate(true), np.concatenate(predicted), np.concatenate(errors)
    spread = float(((y - y.mean()) ** 2).sum())
    r2 = 1.0 - float(((y - y_hat) ** 2).sum()) / spread if spread > 0.0 else None
    return Law(models=models, r2=r2, mean_error=float(error.mean()), max_error=float(error.max()))
