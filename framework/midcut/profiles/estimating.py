"""Estimates a profile from what each node computes, for a device on which nobody measured the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from midcut.profiles.layer_fit import find_layer_fit
from midcut.profiles.profile import Machine, Profile, Run
from midcut.profiles.shipped import SHIPPED

if TYPE_CHECKING:
    from midcut.terms import Role
    from midcut.types import CutTable, Floats

ESTIMATED: Final = "estimated from operations and bytes"


def can_estimate(device: str) -> bool:
    """Whether there is a shipped layer fit of the device."""
    return (SHIPPED / "layer_fits" / f"{device}.json").exists()


def estimate(table: CutTable, device: str, role: Role) -> Profile:
    """Estimate the seconds of every node by the device's layer fit.

    Other devices, libraries and threads may be several times faster or slower.

    Args:
        table: of the captured model.
        device: name of one with a shipped layer fit.
    """
    fit = find_layer_fit(device)
    core, memory = fit.seconds(table.nodes)
    clocks = sorted({clock for clock in (fit.clock_min_mhz, fit.clock_mhz) if clock})
    return Profile(
        model=table.model,
        role=role,
        table=table,
        machine=Machine(name=fit.device, processor="unknown", cores=1, system=ESTIMATED),
        versions={},
        threads=fit.threads,
        batch=1,
        modelled=True,
        origin=f"{ESTIMATED} per node, by a layer fit to {len(fit.models)} other models; not measured",
        runs=tuple(_run(clock, core * (fit.clock_mhz or clock) / clock + memory) for clock in clocks)
        or (_run(None, core + memory),),
    )


def _run(clock_mhz: float | None, node_s: Floats) -> Run:
    seconds = tuple(node_s.tolist())
    whole_s = max(sum(seconds), 1e-9)  # a profile has no network without work
    return Run(clock_mhz, seconds, (0.0,) * len(seconds), whole_s=whole_s, whole_spread_s=0.0, repeats=0)
