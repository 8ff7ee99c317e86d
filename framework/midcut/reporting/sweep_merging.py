"""Puts the jobs of a sweep over `w` together again: they are one simulation in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from midcut.results.simulation import Series, Simulation

_DIFFERING = ("weights", "series", "fronts", "claims")


def merge_sweeps(simulations: Mapping[str, Simulation], sweeps: Iterable[str]) -> dict[str, Simulation]:
    """Merge the simulations of each sweep that differ in their weights only.

    A merged simulation has no metrics of the Pareto front: these need the picks at all weights together.

    Args:
        simulations: name of a folder -> the simulation in it.
        sweeps: names of the sweeps' folders.

    Returns:
        by the name of the sweep's folder where simulations were merged, else by their own.
    """
    folders = tuple(sweeps)
    groups: dict[tuple[str, bytes], dict[str, Simulation]] = {}
    for name, simulation in simulations.items():
        sweep = next((folder for folder in folders if name.startswith(f"{folder}/")), "")
        key = (sweep, _shared_fields(simulation) if sweep else name.encode())
        groups.setdefault(key, {})[name] = simulation
    merged: dict[str, Simulation] = {}
    for (sweep, _), group in groups.items():
        if len(group) > 1 and len({part.weights for part in group.values()}) == len(group):
            merged[sweep if sweep not in merged else next(iter(group))] = _merge(list(group.values()))
        else:
            merged |= group
    return merged


def _shared_fields(simulation: Simulation) -> bytes:
    """The fields that are equal in all parts of one simulation, as JSON."""
    values: dict[str, Any] = msgspec.to_builtins(simulation)
    return msgspec.json.encode({name: value for name, value in values.items() if name not in _DIFFERING})


def _merge(parts: list[Simulation]) -> Simulation:
    series: dict[tuple[str, float | None, int], Series] = {}
    for part in parts:
        for each in part.series:
            series.setdefault((each.strategy, each.w, each.dwell), each)
    claims = {msgspec.json.encode(claim): claim for part in parts for claim in part.claims}
    weights = sorted({w for part in parts for w in part.weights})
    fronts = parts[0].fronts if len(weights) == 1 else ()
    return msgspec.structs.replace(
        parts[0], weights=tuple(weights), series=tuple(series.values()), claims=tuple(claims.values()), fronts=fronts
    )
