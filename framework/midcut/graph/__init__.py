"""Captures a model as a graph, makes it runnable in parts, and verifies that every cut gives the exact result.

Importing this imports no torch: that waits until one of the two names is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midcut.graph.assembly import partition
    from midcut.graph.partitioned import Partition

__all__ = ["Partition", "partition"]


def __getattr__(name: str) -> Any:
    if name == "partition":
        from midcut.graph.assembly import partition  # noqa: PLC0415 - torch

        return partition
    if name == "Partition":
        from midcut.graph.partitioned import Partition  # noqa: PLC0415 - torch

        return Partition
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
