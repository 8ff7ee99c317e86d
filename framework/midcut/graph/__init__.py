"""Captures a model as a graph, makes it runnable in parts, and verifies that every cut gives the exact result."""

from midcut.graph.assembly import partition
from midcut.graph.partition import Partition

__all__ = ["Partition", "partition"]
