"""Profiles and fits of the models on the test bed itself, each side pinned to its own core."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import msgspec

from midcut.profiles import read_profile, write_fit, write_profile
from midcut.profiling.fitting import fit

if TYPE_CHECKING:
    from pathlib import Path

    from midcut.profiles import Profile, Run

FOLDER, MEASURED = "profiles", "measured"
CLOCK_SHARES = (0.4, 0.55, 0.7, 0.85, 1.0)
TIMEOUT_S = 300.0


def ensure_profiles(
    bed: Any, folder: Path, model: str, *, max_clock_mhz: float, command: list[str], repeats: int
) -> Path:
    """Measure what `folder/profiles` does not have yet; returns that folder.

    Each side is measured at full clock on its core. The edge's other clocks are the same seconds
    scaled by 1 / f: that is what the bed's time share does by construction, and `origin` says so.
    The measurement as it was stays in `profiles/measured`.
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
        _finish(end.popen([*run, f"hydra.run.dir={folder}/runs/profile-{role}-{model}"], **_quiet(raw)), raw)
        measured = read_profile(raw)
        write_profile(scaled(measured) if role == "edge" else measured, out)
    return profiles


def scaled(profile: Profile) -> Profile:
    """A profile of one clock, as one of several on a machine where all time goes with 1 / f."""
    (full,) = profile.runs
    runs = tuple(_at(full, share) for share in CLOCK_SHARES)
    shares = ", ".join(f"{share:g}" for share in CLOCK_SHARES)
    origin = f"{profile.origin}; other clocks than the highest by construction: seconds / f for f of {shares}"
    return msgspec.structs.replace(profile, runs=runs, origin=origin)


def _at(run: Run, share: float) -> Run:
    return msgspec.structs.replace(
        run,
        clock_mhz=None if run.clock_mhz is None else run.clock_mhz * share,
        node_s=tuple(seconds / share for seconds in run.node_s),
        node_spread_s=tuple(seconds / share for seconds in run.node_spread_s),
        whole_s=run.whole_s / share,
        whole_spread_s=run.whole_spread_s / share,
    )


def ensure_fit(profiles: Path, model: str) -> Path:
    """The paper's clock law fitted to the model's edge profile, in a file beside it."""
    path = profiles / "fits" / f"{model}.json"
    if not path.exists():
        write_fit(fit([read_profile(profiles / f"edge-{model}.json")], seed=0), path)
    return path


def _quiet(raw: Path) -> dict[str, Any]:
    return {"stdout": subprocess.DEVNULL, "stderr": raw.with_suffix(".log").open("wb"), "cwd": raw.parent}


def _finish(process: subprocess.Popen[bytes], raw: Path) -> None:
    try:
        failed = process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        failed = -1
    if failed:
        said = raw.with_suffix(".log").read_text()[-1500:]
        raise SystemExit(f"tools/evaluate: midcut profile failed ({failed}):\n{said}")
