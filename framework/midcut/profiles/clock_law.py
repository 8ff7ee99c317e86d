"""The fit: the paper's clock law, its parameters for every model, and how far off it is."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from midcut.profiles.shipped import find_path
from midcut.results.files import read_json, write_json
from midcut.terms import Normalisation

FILE = "fit.json"
"""Its name in a run directory of `midcut fit`."""
FORMAT = "midcut-fit/1"


class ModelLaw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model's slope: (a * clock_mhz ** b) * (upper - lower) + lower, seconds per layer (Eq. 1 and 2).

    Attributes:
        a, b: of the curve; the same for all models but under `loglog`.
        upper, lower: the model's bounds, seconds per layer.
    """

    a: float
    b: float
    upper: float
    lower: float


class Law(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one normalisation gave.

    Attributes:
        models: by model name.
        r2: of the normalised slopes (under `loglog`: divided by the largest), on the points left out of
            the fit; null where they do not vary.
        mean_error, max_error: relative error of the predicted slope on those points, 0.01 is 1 %.
    """

    models: dict[str, ModelLaw]
    r2: float | None
    mean_error: float
    max_error: float


class Slopes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model's measurements, by clock.

    Attributes:
        clock_mhz: settings, ascending.
        slope_s: seconds per layer at each.
        fitted: whether the fit saw the point; the others validate it.
    """

    clock_mhz: tuple[float, ...]
    slope_s: tuple[float, ...]
    fitted: tuple[bool, ...]


class Fit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The clock law fitted to one device's profiles (Luger, Aral, Brandic 2023, section 3.1).

    Attributes:
        device: name of the machine.
        clock_min_mhz, clock_max_mhz: the range that was measured.
        seed: of the split.
        fitted, validated: number of points used and left out.
        modelled: any of the profiles was modelled, not measured.
        laws: by normalisation.
        points: what it was fitted to, by model, for plots; empty in fits of before it was kept.
        format: what this file is, and which version of it.
    """

    device: str
    clock_min_mhz: float
    clock_max_mhz: float
    seed: int
    fitted: int
    validated: int
    modelled: bool
    laws: dict[Normalisation, Law]
    points: dict[str, Slopes] = {}
    format: str = FORMAT


_HINT = "make one with `midcut fit profiles='[A.json,B.json]'`"


def read_fit(path: Path | str) -> Fit:
    """Read and check a fit.

    Raises:
        FileError: missing, not JSON, not this format, or parameters that give no latency.
    """
    return read_json(Path(path), Fit, "fit", _HINT, _wrong)


def write_fit(fit: Fit, path: Path | str) -> Path:
    """Write a fit, whole or not at all.

    Raises:
        FileError: its numbers are not what a reader accepts, or the file cannot be written.
    """
    return write_json(Path(path), fit, "fit", _wrong)


def find_fit(spec: Path | str) -> Fit:
    """Read a fit file, or the one of a device that comes with midcut.

    Raises:
        FileError: there is none; says which exist.
    """
    return read_fit(find_path("fit", spec, _HINT))


def _wrong(fit: Fit) -> str:
    if fit.format != FORMAT:
        return f"$.format is {fit.format!r}, this version reads {FORMAT!r}"
    if not 0.0 < fit.clock_min_mhz <= fit.clock_max_mhz < math.inf:
        return f"$.clock_min_mhz, $.clock_max_mhz are {fit.clock_min_mhz}, {fit.clock_max_mhz}: no range of clocks"
    for model, seen in fit.points.items():
        if not len(seen.clock_mhz) == len(seen.slope_s) == len(seen.fitted) > 0:
            return f"$.points.{model}: clock_mhz, slope_s and fitted must be as long as one another, and not empty"
    for name, law in fit.laws.items():
        for model, one in law.models.items():
            wrong = wrong_law(one)
            if wrong:
                return f"$.laws.{name}.models.{model}: {wrong}"
    return ""


def wrong_law(law: ModelLaw) -> str:
    """Say why a law cannot give seconds, or `""`."""
    if not all(map(math.isfinite, (law.a, law.b, law.upper, law.lower))):
        return f"a={law.a}, b={law.b}, upper={law.upper}, lower={law.lower} must be finite"
    if law.a < 0.0:
        return f"a is {law.a}, must be 0 or more"
    if not 0.0 <= law.lower <= law.upper:
        return f"bounds must be 0 <= lower <= upper, got lower={law.lower}, upper={law.upper}"
    return ""
