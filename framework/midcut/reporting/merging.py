"""Jobs of a sweep over `w` are one simulation, taken apart: here they are put together again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from midcut.results.simulation import Series, Simulation

_APART = ("weights", "series", "fronts", "claims")


def merged(simulations: Mapping[str, Simulation], sweeps: Iterable[str]) -> dict[str, Simulation]:
    """Put together what lies below one sweep and differs in the weights only.

    A sweep's parts keep no front metrics of their own: these need every weight on the same samples at once.

    Args:
        simulations: by the name of their folder.
        sweeps: names of the sweeps' folders.

    Returns:
        by the name of the sweep's folder where parts were put together, else as it was.
    """
    folders = tuple(sweeps)
    groups: dict[tuple[str, bytes], dict[str, Simulation]] = {}
    for name, simulation in simulations.items():
        sweep = next((folder for folder in folders if name.startswith(f"{folder}/")), "")
        key = (sweep, _same(simulation) if sweep else name.encode())
        groups.setdefault(key, {})[name] = simulation
    together: dict[str, Simulation] = {}
    for (sweep, _), group in groups.items():
        if len(group) > 1 and len({one.weights for one in group.values()}) == len(group):
            together[sweep if sweep not in together else next(iter(group))] = _together(list(group.values()))
        else:
            together |= group
    return together


def _same(simulation: Simulation) -> bytes:
    """What two parts have in common; floats as the file has them."""
    values: dict[str, Any] = msgspec.to_builtins(simulation)
    return msgspec.json.encode({name: value for name, value in values.items() if name not in _APART})


def _together(parts: list[Simulation]) -> Simulation:
    series: dict[tuple[str, float | None, int], Series] = {}
    for part in parts:
        for one in part.series:
            series.setdefault((one.strategy, one.w, one.dwell), one)
    claims = {msgspec.json.encode(claim): claim for part in parts for claim in part.claims}
    weights = sorted({w for part in parts for w in part.weights})
    alone = parts[0].fronts if len(weights) == 1 else ()
    return msgspec.structs.replace(
        parts[0], weights=tuple(weights), series=tuple(series.values()), claims=tuple(claims.values()), fronts=alone
    )
