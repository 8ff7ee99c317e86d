"""Selects the cuts that the config allows. Imports no torch, because planning from a profile needs none."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from midcut.errors import ConfigError

if TYPE_CHECKING:
    from midcut.config.settings import CutSettings
    from midcut.types import Cut, CutTable


def legal_cuts(table: CutTable, settings: CutSettings) -> tuple[int, ...]:
    """Narrow the cuts of a model down to those the config allows.

    Returns:
        indices of cuts, ascending; at least one.

    Raises:
        ConfigError: an unknown name or bound, or no cut is left.
    """
    edge_ends = (max(_node_indices(table, name, "keep_on_edge")) + 1 for name in settings.keep_on_edge)
    cloud_starts = (min(_node_indices(table, name, "keep_in_cloud")) for name in settings.keep_in_cloud)
    first = max([_bound(table, "first_cut", settings.first_cut, 0), *edge_ends])
    last = min([_bound(table, "last_cut", settings.last_cut, table.last), *cloud_starts])
    candidates = _module_cuts(table) if settings.modules else range(table.last + 1)
    inside = [table.cuts[index] for index in candidates if first <= index <= last]
    wanted = [cut for cut in inside if cut.single_tensor or not settings.single_tensor]
    legal = tuple(cut.index for cut in wanted if not cut.refused)
    if not legal:
        raise ConfigError(f"no cut of model {table.model!r} is left: {_why_none_left(first, last, inside, wanted)}")
    return legal


def _module_cuts(table: CutTable) -> tuple[int, ...]:
    """Cut 0, and one right after each leaf module. Nodes after the last leaf module count as part of it."""
    ends = [cut.index for cut in table.cuts if cut.ends_module]
    return tuple(dict.fromkeys([0, *ends[:-1], table.last]))


def _bound(table: CutTable, setting: str, value: int | None, default: int) -> int:
    if value is None:
        return default
    index = value if value >= 0 else table.last + 1 + value
    if not 0 <= index <= table.last:
        raise ConfigError(
            f"cuts.{setting}={value}: model {table.model!r} has cuts 0 to {table.last} (or -1 to {-table.last - 1})"
        )
    return index


def _node_indices(table: CutTable, name: str, setting: str) -> list[int]:
    """Indices of the nodes that belong to `name`: the name of a node or module, or the start of a module path."""
    prefix = f"{name}."
    indices = [
        index
        for index, node in enumerate(table.nodes)
        if name in (node.name, node.module) or node.module.startswith(prefix)
    ]
    if not indices:
        known = {node.name for node in table.nodes}
        for node in table.nodes:
            parts = node.module.split(".")
            known.update(".".join(parts[:end]) for end in range(1, len(parts) + 1))
        close = get_close_matches(name, sorted(known - {""}), n=3)
        hint = f"; similar names: {', '.join(close)}" if close else f"; the first node is {table.nodes[0].name!r}"
        raise ConfigError(f"cuts.{setting}: model {table.model!r} has no node or module {name!r}{hint}")
    return indices


def _why_none_left(first: int, last: int, inside: list[Cut], wanted: list[Cut]) -> str:
    if first > last:
        return f"the first allowed cut is {first}, the last allowed cut is {last}"
    if not inside:
        return f"no leaf module ends between {first} and {last}"
    if not wanted:
        return f"no cut from {first} to {last} is crossed by a single tensor only"
    return f"cut {wanted[0].index} is not offered because {wanted[0].refused}"
