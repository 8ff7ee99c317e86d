"""Counters and histograms for Prometheus that cost a small request next to nothing.

prometheus_client's own take a lock for every bucket and label: the nine observations of one request take 25 us, 16 us
where its children are kept at hand, and 5 us here, in one run. A whole 4 kB request takes some 400 us, most of them the
socket's, so that this is what metrics would add to it. These are dictionaries that become prometheus_client's metrics
when they are scraped; exposition, registry and gauges are its own. Each is written to by one thread only.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client import CollectorRegistry


class FastCounter:
    """A counter, by labels."""

    def __init__(self, name: str, what: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._what, self._labels = name, what, labels
        self._counts: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}
        registry.register(self)

    def add(self, *labels: str, by: float = 1.0) -> None:
        self._counts[labels] = self._counts.get(labels, 0.0) + by

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._what, labels=self._labels)
        for labels, count in list(self._counts.items()):
            family.add_metric(labels, count)
        yield family


class FastHistogram:
    """A histogram, by labels.

    Args:
        bounds: upper bounds of the buckets, ascending.
    """

    def __init__(
        self, name: str, what: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._what, self._labels, self._bounds = name, what, labels, bounds
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if not labels:
            self._begin(())
        registry.register(self)

    def observe(self, value: float, *labels: str) -> None:
        if labels not in self._counts:
            self._begin(labels)
        self._counts[labels][bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._what, labels=self._labels)
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]  # "1.0", as others write it
        for labels, counts in list(self._counts.items()):
            buckets = [(name, float(count)) for name, count in zip(names, accumulate(counts), strict=True)]
            family.add_metric(labels, buckets, self._sums[labels])
        yield family

    def _begin(self, labels: tuple[str, ...]) -> None:
        self._sums[labels] = 0.0
        self._counts[labels] = [0] * (len(self._bounds) + 1)
