"""The profile: seconds per node of one model on one machine."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from midcut.errors import FileError
from midcut.profiles.shipped import find_path
from midcut.results.files import read_json, write_json
from midcut.terms import Role
from midcut.types import DTYPES, CutTable

FORMAT = "midcut-profile/1"


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it was measured on.

    Attributes:
        name: what people call it.
        processor: as the system names it.
        cores: logical processors.
        system: operating system and release.
    """

    name: str
    processor: str
    cores: int
    system: str


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The measurements at one clock setting. Medians over `repeats`; spreads are inter-quartile ranges.

    Attributes:
        clock_mhz: the setting; null where the machine does not tell.
        node_s, node_spread_s: seconds per node, in execution order.
        whole_s, whole_spread_s: seconds for all nodes in one go.
        repeats: how many times each was measured; 0 in a modelled profile.
    """

    clock_mhz: float | None
    node_s: tuple[float, ...]
    node_spread_s: tuple[float, ...]
    whole_s: float
    whole_spread_s: float
    repeats: int


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model on one machine.

    Attributes:
        model: what both sides call it; the same as `table.model`.
        role: the side the machine stands on.
        table: the captured graph's nodes and cuts, with the payload of each; `weights` is empty in a
            profile that holds for any weights.
        machine: where it was measured.
        versions: package -> version.
        threads, batch: torch threads, and images per run.
        modelled: the seconds were computed, not measured.
        origin: where the numbers come from, for people.
        runs: one per clock setting, ascending.
        format: what this file is, and which version of it.
    """

    model: str
    role: Role
    table: CutTable
    machine: Machine
    versions: dict[str, str]
    threads: int
    batch: int
    modelled: bool
    origin: str
    runs: tuple[Run, ...]
    format: str = FORMAT


def read_profile(path: Path | str) -> Profile:
    """Read and check a profile.

    Raises:
        FileError: missing, not JSON, not this format, or numbers that no measurement gives.
    """
    hint = "make one with `midcut profile model=NAME`"
    return read_json(Path(path), Profile, "profile", hint, _wrong)


def write_profile(profile: Profile, path: Path | str) -> Path:
    """Write a profile, whole or not at all.

    Raises:
        FileError: its numbers are not what a reader accepts, or the file cannot be written.
    """
    return write_json(Path(path), profile, "profile", _wrong)


def _wrong(profile: Profile) -> str:
    """Say what is wrong first, with the path inside the file, or `""`."""
    if profile.format != FORMAT:
        return f"$.format is {profile.format!r}, this version reads {FORMAT!r}"
    if profile.model != profile.table.model:
        return f"$.model is {profile.model!r} but $.table.model is {profile.table.model!r}"
    if [cut.index for cut in profile.table.cuts] != list(range(len(profile.table.nodes) + 1)):
        return f"$.table.cuts must count from 0 to the number of nodes, {len(profile.table.nodes)}"
    return _wrong_cuts(profile.table) or _wrong_runs(profile)


def _wrong_cuts(table: CutTable) -> str:
    layer = 0
    for index, cut in enumerate(table.cuts):
        if cut.layer < layer:
            return f"$.table.cuts[{index}].layer is {cut.layer}, must not be less than before the node, {layer}"
        layer = cut.layer
        for position, value in enumerate(cut.values):
            where = f"$.table.cuts[{index}].values[{position}]"
            if value.dtype not in DTYPES and value.is_tensor:
                return f"{where}.dtype is {value.dtype!r}, known are int, {', '.join(sorted(DTYPES))}"
            if min(value.shape, default=0) < 0:
                return f"{where}.shape is {list(value.shape)}, sizes are 0 or more"
    return ""


def _wrong_runs(profile: Profile) -> str:
    clocks = [run.clock_mhz for run in profile.runs]
    if not clocks:
        return "$.runs is empty"
    if None in clocks and len(clocks) > 1:
        return "$.runs has several runs and one of them no clock_mhz"
    if len(set(clocks)) < len(clocks):
        return f"$.runs has clock_mhz {max(clocks, key=clocks.count)} more than once"
    runs = (_wrong_in(run, f"$.runs[{i}]", len(profile.table.nodes)) for i, run in enumerate(profile.runs))
    return next(filter(None, runs), "")


def _wrong_in(run: Run, where: str, nodes: int) -> str:
    for name in ("node_s", "node_spread_s"):
        values = getattr(run, name)
        if len(values) != nodes:
            return f"{where}.{name} has {len(values)} numbers for {nodes} nodes"
        for node, value in enumerate(values):
            if not 0.0 <= value < math.inf:
                return f"{where}.{name}[{node}] is {value}, must be seconds, 0 or more"
    for name in ("whole_s", "whole_spread_s"):
        if not 0.0 <= getattr(run, name) < math.inf:
            return f"{where}.{name} is {getattr(run, name)}, must be seconds, 0 or more"
    if run.whole_s == 0.0:
        return f"{where}.whole_s is 0, no model runs in no time"
    if run.clock_mhz is not None and not 0.0 < run.clock_mhz < math.inf:
        return f"{where}.clock_mhz is {run.clock_mhz}, must be more than 0"
    return "" if run.repeats >= 0 else f"{where}.repeats is {run.repeats}, must be 0 or more"


def find_profile(spec: Path | str, role: Role | str, model: str) -> Profile:
    """Find a model's profile.

    Args:
        spec: a profile file, a folder of them, or the name of a device that comes with midcut.
        role: `edge` or `cloud`.
        model: name of the model.

    Raises:
        FileError: there is none, several fit, or it is of another model or role; says which exist.
    """
    role = Role(role)
    how = f"measure one with `midcut profile model={model} role={role}`, then {role}_profile=FILE"
    path = find_path("profile", spec, how)
    if path.is_dir():
        return _in_folder(path, str(spec), role, model, how)
    profile = read_profile(path)
    if (profile.model, profile.role) != (model, role):
        raise FileError(
            f"profile {path} is of model {profile.model!r} as {profile.role}, needed is {model!r} as {role}; {how}"
        )
    return profile


def find_profiles(spec: Path | str, role: Role | str) -> list[Profile]:
    """Find the profiles of all models of one side.

    Args:
        spec: a profile file, a folder of them, or the name of a device that comes with midcut.
        role: `edge` or `cloud`.

    Raises:
        FileError: there is none.
    """
    how = f"measure one with `midcut profile role={role}`"
    path = find_path("profile", spec, how)
    if not path.is_dir():
        return [read_profile(path)]
    kinds = {file: _kind(file) for file in sorted(path.glob("*.json"))}
    found = [read_profile(file) for file, kind in kinds.items() if kind and kind[1] == Role(role).value]
    if not found:
        raise FileError(f"{str(spec)!r} has no profile as {role}; {how}")
    return found


def one_image_at_a_time(profile: Profile) -> None:
    """Refuse seconds for several images at once: forecasts and fits are per image.

    Raises:
        FileError: the profile's batch is not 1.
    """
    if profile.batch != 1:
        raise FileError(
            f"the profile of {profile.model!r} as {profile.role} has the seconds of {profile.batch} images at once, "
            "needed are those of one: profile again with batch=1"
        )


def _in_folder(folder: Path, spec: str, role: Role, model: str, how: str) -> Profile:
    """Pick the one profile in a folder that fits; other JSON files may lie there as well."""
    found: dict[Path, Profile] = {}
    exist: list[str] = []
    for path in sorted(folder.glob("*.json")):
        kind = _kind(path)
        exist.append(f"{kind[0]} as {kind[1]}") if kind else None
        if kind == (model, role.value):
            found[path] = read_profile(path)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        names = ", ".join(path.name for path in found)
        raise FileError(f"{spec!r} has several profiles of {model!r} as {role}: {names}; name the file")
    raise FileError(f"{spec!r} has no profile of {model!r} as {role}; it has: {', '.join(exist) or 'none'}; {how}")


class _Head(msgspec.Struct):
    """The part of a profile that says what it is of."""

    model: str
    role: str
    format: str


def _kind(path: Path) -> tuple[str, str] | None:
    try:
        head = msgspec.json.decode(path.read_bytes(), type=_Head)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return (head.model, head.role) if head.format.startswith("midcut-profile/") else None
