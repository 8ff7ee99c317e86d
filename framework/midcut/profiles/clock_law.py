"""A fit: the parameters of the paper's clock law for every model and its prediction error, with reading and writing."""

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
    """Slope of one model: (a * clock_mhz ** b) * (upper - lower) + lower, in seconds per layer (Eq. 1 and 2).

    Attributes:
        a, b: of the curve; shared by all models, except under `loglog`.
        upper, lower: the model's bounds, seconds per layer.
    """

    a: float
    b: float
    upper: float
    lower: float


class Law(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The laws fitted under one normalisation.

    Attributes:
        models: model name -> law.
        r2: R² of the normalised slopes (under `loglog`: divided by the largest) on the validation points; null
            where these do not vary.
        mean_error, max_error: relative error of the predicted slope on the validation points; 0.01 is 1 %.
    """

    models: dict[str, ModelLaw]
    r2: float | None
    mean_error: float
    max_error: float


class Slopes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Measured slopes of one model, one per clock setting.

    Attributes:
        clock_mhz: settings, ascending.
        slope_s: seconds per layer at each setting.
        fitted: True for points that were used to fit the curve, False for validation points.
    """

    clock_mhz: tuple[float, ...]
    slope_s: tuple[float, ...]
    fitted: tuple[bool, ...]


class Fit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The clock law fitted to one device's profiles (Luger, Aral, Brandic 2023, section 3.1).

    Attributes:
        device: name of the machine.
        clock_min_mhz, clock_max_mhz: the measured range of clocks.
        seed: of the random split into fitted and validation points.
        fitted, validated: number of fitted points and of validation points.
        modelled: whether any of the profiles was computed by a model instead of measured.
        laws: by normalisation.
        points: model name -> its measured slopes, for plots; empty in files of older versions.
        format: name and version of the file format.
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
        FileError: missing, not JSON, not this format, or parameters that cannot give a latency.
    """
    return read_json(Path(path), Fit, "fit", _HINT, _fault)


def write_fit(fit: Fit, path: Path | str) -> Path:
    """Write a fit atomically.

    Raises:
        FileError: `read_fit` would refuse its numbers, or the file cannot be written.
    """
    return write_json(Path(path), fit, "fit", _fault)


def find_fit(spec: Path | str) -> Fit:
    """Read a fit from a path, or the shipped fit of a device.

    Raises:
        FileError: there is none; the message lists the shipped ones.
    """
    return read_fit(find_path("fit", spec, _HINT))


def _fault(fit: Fit) -> str:
    """What is wrong with a fit, starting with the path inside the file; `""` if nothing is."""
    if not 0.0 < fit.clock_min_mhz <= fit.clock_max_mhz < math.inf:
        return f"$.clock_min_mhz, $.clock_max_mhz are {fit.clock_min_mhz}, {fit.clock_max_mhz}: not a range of clocks"
    for model, slopes in fit.points.items():
        if not len(slopes.clock_mhz) == len(slopes.slope_s) == len(slopes.fitted) > 0:
            return f"$.points.{model}: clock_mhz, slope_s and fitted must have equal lengths and not be empty"
    if not fit.laws:
        return "$.laws is empty"
    for name, law in fit.laws.items():
        if not law.models:
            return f"$.laws.{name}.models is empty"
        for model, model_law in law.models.items():
            if fault := wrong_law(model_law):
                return f"$.laws.{name}.models.{model}: {fault}"
    return ""


def wrong_law(law: ModelLaw) -> str:
    """Why a law cannot give seconds; `""` if it can."""
    if not all(map(math.isfinite, (law.a, law.b, law.upper, law.lower))):
        return f"a={law.a}, b={law.b}, upper={law.upper}, lower={law.lower} must be finite"
    if law.a < 0.0:
        return f"a is {law.a}, must be 0 or more"
    if not 0.0 <= law.lower <= law.upper:
        return f"bounds must be 0 <= lower <= upper, got lower={law.lower}, upper={law.upper}"
    return ""
