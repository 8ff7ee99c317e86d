"""Capturing a model, cutting it anywhere, and making sure each cut is exact."""

from midcut.graph.partition import Partition, partition

__all__ = ["Partition", "partition"]
