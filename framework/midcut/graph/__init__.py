"""Captures a model as a graph, makes it runnable in parts, and verifies that every cut gives the exact result."""

from midcut.graph.partition import Partition, partition

__all__ = ["Partition", "partition"]
