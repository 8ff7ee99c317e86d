"""Profiles and fits of the models on the test bed itself, each side pinned to its own core."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import msgspec

from evaluation.processes import SiteError, one_thread
from midcut.profiles import read_profile, write_fit, write_profile
from midcut.profiles.fitting import fit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bed import Bed
    from bed.hosts import Host

    from midcut.profiles import Profile, Run

FOLDER, MEASURED = "profiles", "measured"
TIMEOUT_S = 300.0


def ensure_profiles(
    bed: Bed,
    folder: Path,
    model: str,
    *,
    max_clock_mhz: float,
    clocks_mhz: Sequence[float],
    command: list[str],
    repeats: int,
) -> Path:
    """Measure what `folder/profiles` does not have yet; returns that folder.

    Each side is measured at full speed on its core, which the edge calls `max_clock_mhz`. The edge's profile has
    the same seconds scaled by 1 / f to `clocks_mhz`: that is what the bed's time share does by construction, and
    `origin` says so. The measurement as it was stays in `profiles/measured`.
    """
    profiles = folder / FOLDER
    (profiles / MEASURED).mkdir(parents=True, exist_ok=True)
    for role, end in (("edge", bed.edge), ("cloud", bed.cloud)):
        out = profiles / f"{role}-{model}.json"
        if out.exists():
            continue
        bed.clock.set(max_clock_mhz)
        raw = profiles / MEASURED / out.name
        stated = [f"stated_clock_mhz={max_clock_mhz:g}"]
        run = [*command, "profile", f"model={model}", f"role={role}", f"repeats={repeats}", *stated, f"out={raw}"]
        _finish(end, [*run, f"hydra.run.dir={folder}/runs/profile-{role}-{model}"], raw.with_suffix(".log"))
        measured = read_profile(raw)
        write_profile(scaled(measured, clocks_mhz) if role == "edge" else measured, out)
    return profiles


def scaled(profile: Profile, clocks_mhz: Sequence[float]) -> Profile:
    """A profile of one clock, as one of several on a machine where all time goes with 1 / f."""
    (full,) = profile.runs
    if full.clock_mhz is None:
        raise SiteError(f"the profile of {profile.model!r} does not say its clock")
    runs = tuple(_slower(full, clock_mhz, full.clock_mhz / clock_mhz) for clock_mhz in sorted(clocks_mhz))
    how = f"measured at {full.clock_mhz:g} MHz, other clocks by construction: seconds go with 1 / f"
    origin = f"{profile.origin}; {how}"
    return msgspec.structs.replace(profile, runs=runs, origin=origin)


def _slower(run: Run, clock_mhz: float, times: float) -> Run:
    return msgspec.structs.replace(
        run,
        clock_mhz=clock_mhz,
        node_s=tuple(seconds * times for seconds in run.node_s),
        node_spread_s=tuple(seconds * times for seconds in run.node_spread_s),
        whole_s=run.whole_s * times,
        whole_spread_s=run.whole_spread_s * times,
    )


def ensure_fit(profiles: Path, model: str) -> Path:
    """The paper's clock law fitted to the model's edge profile, in a file beside it."""
    path = profiles / "fits" / f"{model}.json"
    if not path.exists():
        write_fit(fit([read_profile(profiles / f"edge-{model}.json")], seed=0), path)
    return path


def _finish(end: Host, command: list[str], log: Path) -> None:
    with log.open("wb") as errors:
        process = end.popen(command, stdout=subprocess.DEVNULL, stderr=errors, cwd=log.parent, env=one_thread())
    try:
        failed = process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        failed = -1
    if failed:
        raise SiteError(f"midcut profile failed ({failed}); {log}:\n{log.read_text()[-1500:]}")
