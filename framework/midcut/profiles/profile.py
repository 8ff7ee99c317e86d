"""A profile: seconds per node of one model on one machine, with finding, reading and writing."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from midcut.errors import FileError
from midcut.profiles.shipped import find_path
from midcut.results.files import format_fault, read_json, write_json
from midcut.terms import Role
from midcut.types import DTYPES, CutTable

FORMAT = "midcut-profile/1"


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine that a profile was measured on.

    Attributes:
        name: of the device, for people.
        processor: its name as the system reports it.
        cores: logical processors.
        system: operating system and release.
    """

    name: str
    processor: str
    cores: int
    system: str


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The measurements at one clock setting. Medians over `repeats`; spreads are inter-quartile ranges.

    Attributes:
        clock_mhz: the setting; null where the machine does not report it.
        node_s, node_spread_s: seconds per node, in execution order.
        whole_s, whole_spread_s: seconds of a whole forward pass.
        repeats: number of measurements; 0 in a modelled profile.
        power_w: power that computing takes, the machine's idle power included, watts; null if it was not measured.
        idle_w: power of the idle machine, watts; null likewise.
        cut_errors: cut -> largest difference of the output from PyTorch's, as a share of its largest element, with the
            measured head (or tail) in the executor and the rest in PyTorch; empty for PyTorch, and without it.
    """

    clock_mhz: float | None
    node_s: tuple[float, ...]
    node_spread_s: tuple[float, ...]
    whole_s: float
    whole_spread_s: float
    repeats: int
    power_w: float | None = None
    idle_w: float | None = None
    cut_errors: dict[int, float] = {}


class Coding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one codec did to the model's payloads, measured on pictures.

    Attributes:
        codec: its name.
        settings: those that change what it sends, as JSON.
        pictures: how many there were.
        clock_mhz: of the machine; null where it does not report it.
        value_bytes: mean encoded bytes by name of the value that crosses a cut.
        value_s: median seconds of encoding and decoding, likewise.
        encode_s: median seconds of encoding alone, likewise; empty in older files.
        agreement: cut -> share of pictures (of pixels, where each has a class) with the class of the unsplit model.
        error: cut -> mean of ||y' - y|| / ||y|| over the outputs y of the unsplit model.
    """

    codec: str
    settings: str
    pictures: int
    clock_mhz: float | None
    value_bytes: dict[str, float]
    value_s: dict[str, float]
    agreement: dict[int, float]
    error: dict[int, float]
    encode_s: dict[str, float] = {}


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Measurements of one model on one machine.

    Attributes:
        model: name of the model at edge and cloud; the same as `table.model`.
        role: whether the machine is an edge or a cloud.
        table: nodes and cuts of the captured graph, with the payload of each cut; `weights` is empty in a
            profile that is valid for any weights.
        machine: where it was measured.
        versions: package -> version.
        threads, batch: torch threads, and images per run.
        modelled: whether the seconds were computed instead of measured.
        origin: where the numbers come from, for people.
        runs: one per clock setting, ascending.
        executor: what ran the model, `Executor.identity`; empty for PyTorch.
        codings: what codecs did to the payloads on pictures; absent if not measured, so that older versions read it.
        format: name and version of the file format.
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
    executor: str = ""
    codings: tuple[Coding, ...] | msgspec.UnsetType = msgspec.UNSET
    format: str = FORMAT


def read_profile(path: Path | str) -> Profile:
    """Read and check a profile.

    Raises:
        FileError: missing, not JSON, not this format, or numbers that no measurement can give.
    """
    hint = "make one with `midcut profile model=NAME`"
    return read_json(Path(path), Profile, "profile", hint, _fault)


def decode_profile(text: bytes, where: str) -> Profile:
    """Decode and check the content of a profile file that came from elsewhere.

    Args:
        where: it came from, for the error.

    Raises:
        FileError: as for `read_profile`.
    """
    try:
        profile = msgspec.json.decode(text, type=Profile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{where} sent no profile: {error}") from None
    if wrong := format_fault(profile) or _fault(profile):
        raise FileError(f"{where} sent a profile that cannot be used: {wrong}")
    return profile


def write_profile(profile: Profile, path: Path | str) -> Path:
    """Write a profile atomically.

    Raises:
        FileError: `read_profile` would refuse its numbers, or the file cannot be written.
    """
    return write_json(Path(path), profile, "profile", _fault)


def _fault(profile: Profile) -> str:
    """The first thing that is wrong with a profile, starting with the path inside the file; `""` if nothing is."""
    if profile.model != profile.table.model:
        return f"$.model is {profile.model!r} but $.table.model is {profile.table.model!r}"
    if [cut.index for cut in profile.table.cuts] != list(range(len(profile.table.nodes) + 1)):
        return f"$.table.cuts must count from 0 to the number of nodes, {len(profile.table.nodes)}"
    return _cuts_fault(profile.table) or _runs_fault(profile) or _codings_fault(profile.codings or ())


def _codings_fault(codings: tuple[Coding, ...]) -> str:
    for index, coding in enumerate(codings):
        sizes = (*coding.value_bytes.values(), *coding.value_s.values(), *coding.error.values())
        if not all(0.0 <= size < math.inf for size in sizes):
            return f"$.codings[{index}] has bytes, seconds or an error that are negative or infinite"
        if not all(0.0 <= share <= 1.0 for share in coding.agreement.values()):
            return f"$.codings[{index}].agreement must be from 0 to 1"
    return ""


def _cuts_fault(table: CutTable) -> str:
    layer = 0
    for index, cut in enumerate(table.cuts):
        if cut.layer < layer:
            return f"$.table.cuts[{index}].layer is {cut.layer}, must not be less than that of the cut before, {layer}"
        layer = cut.layer
        for position, value in enumerate(cut.values):
            where = f"$.table.cuts[{index}].values[{position}]"
            if value.dtype not in DTYPES and value.is_tensor:
                return f"{where}.dtype is {value.dtype!r}, must be one of int, {', '.join(sorted(DTYPES))}"
            if min(value.shape, default=0) < 0:
                return f"{where}.shape is {list(value.shape)}, sizes must be 0 or more"
    return ""


def _runs_fault(profile: Profile) -> str:
    clocks = [run.clock_mhz for run in profile.runs]
    if not clocks:
        return "$.runs is empty"
    if None in clocks and len(clocks) > 1:
        return "$.runs has several runs, one of them without clock_mhz"
    if len(set(clocks)) < len(clocks):
        return f"$.runs has clock_mhz {max(clocks, key=clocks.count)} more than once"
    runs = (_run_fault(run, f"$.runs[{i}]", len(profile.table.nodes)) for i, run in enumerate(profile.runs))
    return next(filter(None, runs), "")


def _run_fault(run: Run, where: str, nodes: int) -> str:
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
        return f"{where}.whole_s is 0, must be more than 0"
    return _setting_fault(run, where)


def _setting_fault(run: Run, where: str) -> str:
    if run.clock_mhz is not None and not 0.0 < run.clock_mhz < math.inf:
        return f"{where}.clock_mhz is {run.clock_mhz}, must be more than 0"
    for name in ("power_w", "idle_w"):
        watts = getattr(run, name)
        if watts is not None and not 0.0 <= watts < math.inf:
            return f"{where}.{name} is {watts}, must be watts, 0 or more"
    return "" if run.repeats >= 0 else f"{where}.repeats is {run.repeats}, must be 0 or more"


def find_profile(spec: Path | str, role: Role | str, model: str) -> Profile:
    """Find a model's profile.

    Args:
        spec: a profile file, a folder of them, or the name of a device that comes with midcut.
        role: `edge` or `cloud`.
        model: name of the model.

    Raises:
        FileError: there is none, there are several, or it is of another model or role; the message lists what exists.
    """
    role = Role(role)
    how = f"measure one with `midcut profile model={model} role={role}`, then {role}_profile=FILE"
    path = find_path("profile", spec, how)
    if path.is_dir():
        return _find_in_folder(path, str(spec), role, model, how)
    profile = read_profile(path)
    if (profile.model, profile.role) != (model, role):
        raise FileError(
            f"profile {path} is of model {profile.model!r} as {profile.role}, but {model!r} as {role} is needed; {how}"
        )
    return profile


def find_profiles(spec: Path | str, role: Role | str) -> list[Profile]:
    """Find the profiles of all models for one role.

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
    contents = {file: _model_and_role(file) for file in sorted(path.glob("*.json"))}
    profiles = [read_profile(file) for file, content in contents.items() if content and content[1] == Role(role).value]
    if not profiles:
        raise FileError(f"{str(spec)!r} has no profile as {role}; {how}")
    return profiles


def one_image_at_a_time(profile: Profile) -> None:
    """Refuse a profile of several images at once, because forecasts and fits are per image.

    Raises:
        FileError: the profile's batch is not 1.
    """
    if profile.batch != 1:
        raise FileError(
            f"the profile of {profile.model!r} as {profile.role} was measured with {profile.batch} images at once, "
            "but one is needed: profile again with batch=1"
        )


def _find_in_folder(folder: Path, spec: str, role: Role, model: str, how: str) -> Profile:
    """Read the only profile in a folder that matches; the folder may hold other JSON files as well."""
    contents = {path: _model_and_role(path) for path in sorted(folder.glob("*.json"))}
    matches = [path for path, content in contents.items() if content == (model, role.value)]
    if len(matches) == 1:
        return read_profile(matches[0])
    if matches:
        names = ", ".join(path.name for path in matches)
        raise FileError(f"{spec!r} has several profiles of {model!r} as {role}: {names}; name the file")
    existing = ", ".join(f"{content[0]} as {content[1]}" for content in contents.values() if content)
    raise FileError(f"{spec!r} has no profile of {model!r} as {role}; it has: {existing or 'none'}; {how}")


class _ProfileHeader(msgspec.Struct):
    """The fields that tell whether a JSON file is a profile, and of what."""

    model: str
    role: str
    format: str


def _model_and_role(path: Path) -> tuple[str, str] | None:
    """Model and role of a profile; None for a file that is not a profile."""
    try:
        header = msgspec.json.decode(path.read_bytes(), type=_ProfileHeader)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return (header.model, header.role) if header.format.startswith("midcut-profile/") else None
