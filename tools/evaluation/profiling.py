"""Profiles and fits of the models on the test bed itself, each side pinned to its own core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from evaluation.processes import SiteError, run_to_end
from midcut.profiles import read_profile, write_fit, write_profile
from midcut.profiles.fitting import fit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bed import Bed

    from midcut.profiles import Profile, Run

FOLDER, MEASURED = "profiles", "measured"
TIMEOUT_S = 300.0


def ensure_profiles(
    bed: Bed, folder: Path, model: str, clocks_mhz: Sequence[float], command: list[str], repeats: int, executor: str
) -> Path:
    """Measure what `folder/profiles` does not have yet; returns that folder.

    Each side is measured at full speed on its core. The edge's profile has the same seconds scaled by 1 / f to
    `clocks_mhz`: that is what the bed's time share does by construction, and `origin` tells it. The measurement itself
    stays in `profiles/measured`.
    """
    profiles = folder / FOLDER
    (profiles / MEASURED).mkdir(parents=True, exist_ok=True)
    bed.clock.set(bed.clock.max_mhz)
    for role, host in (("edge", bed.edge), ("cloud", bed.cloud)):
        out = profiles / f"{role}-{model}.json"
        if out.exists():
            continue
        raw, run = profiles / MEASURED / out.name, folder / "runs" / f"profile-{role}-{model}"
        overrides = [
            f"repeats={repeats}",
            f"executor={executor}",
            f"stated_clock_mhz={bed.clock.max_mhz:g}",
            f"out={raw}",
            f"hydra.run.dir={run}",
        ]
        profile = [*command, "profile", f"model={model}", f"role={role}", *overrides]
        run_to_end(host, profile, "midcut profile", run, TIMEOUT_S)
        measured = read_profile(raw)
        write_profile(scale_to_clocks(measured, clocks_mhz) if role == "edge" else measured, out)
    return profiles


def scale_to_clocks(profile: Profile, clocks_mhz: Sequence[float]) -> Profile:
    """A profile of one clock as one of several, on a machine where all time goes with 1 / f."""
    (full,) = profile.runs
    if full.clock_mhz is None:
        raise SiteError(f"the profile of {profile.model!r} does not state its clock")
    runs = tuple(_scaled_run(full, clock_mhz, full.clock_mhz / clock_mhz) for clock_mhz in sorted(clocks_mhz))
    how = f"measured at {full.clock_mhz:g} MHz, other clocks by construction: seconds go with 1 / f"
    return msgspec.structs.replace(profile, runs=runs, origin=f"{profile.origin}; {how}")


def _scaled_run(run: Run, clock_mhz: float, times: float) -> Run:
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
