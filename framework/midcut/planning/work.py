"""How much a node has to do, compared with others, where no machine has measured it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from midcut.types import Node

# Relative rates of computing and of memory, and the least time of a node that is no view.
_S_PER_MAC: Final = 1e-10
_S_PER_BYTE: Final = 2e-10
_NODE_S: Final = 5e-6


def estimated_s(node: Node) -> float:
    """Seconds on no machine in particular, from multiply-adds and bytes; only ratios mean something."""
    if node.kind == "view":
        return 0.0
    moved = node.in_bytes + node.out_bytes + node.param_bytes
    return max(node.macs * _S_PER_MAC, moved * _S_PER_BYTE, _NODE_S)
