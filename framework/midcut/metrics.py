"""What Prometheus reads at `/metrics` of both sides. Each server has a registry of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from midcut.types import Decision, InferenceResult, Placement

_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0, 30.0)
_TOGETHER: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_PARTS: Final = ("read", "parse", "queue", "compute", "encode")
BREAKER_VALUES: Final = {"closed": 0.0, "half_open": 1.0, "open": 2.0}


def new_registry() -> CollectorRegistry:
    """An empty registry with the process's own figures (memory, CPU seconds, files)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class ServerMetrics:
    """Requests of any server, by route and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._requests = Counter(
            "midcut_requests", "Requests answered", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "midcut_request_seconds",
            "From a request's head to its answer",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge("midcut_requests_in_flight", "Requests being worked on", registry=registry)

    def began(self) -> None:
        self._in_flight.inc()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._in_flight.dec()
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class CloudMetrics:
    """Tails: where their time goes, how many wait, how many are computed together."""

    def __init__(self, registry: CollectorRegistry) -> None:
        parts = Histogram(
            "midcut_cloud_part_seconds",
            "Parts of an inference: reading the body, parsing, waiting, computing, encoding",
            ("part",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._parts = {part: parts.labels(part) for part in _PARTS}
        self._inferences = Counter("midcut_cloud_inferences", "Tails answered", ("model", "codec"), registry=registry)
        self.taken_in = Gauge("midcut_cloud_taken_in", "Inferences taken in and not answered yet", registry=registry)
        self.waiting = Gauge("midcut_cloud_waiting", "Tails that wait for a worker", registry=registry)
        self.together = Histogram(
            "midcut_cloud_batch_requests", "Requests computed together", buckets=_TOGETHER, registry=registry
        )
        self._dropped = Counter(
            "midcut_cloud_dropped",
            "Requests not computed: the queue was full (busy), too late (expired), nobody waits any more (gone)",
            ("reason",),
            registry=registry,
        )

    def inferred(self, model: str, codec: str) -> None:
        self._inferences.labels(model, codec).inc()

    def parts(self, **seconds: float) -> None:
        """Note the seconds of an inference's parts: `read`, `parse`, `queue`, `compute`, `encode`."""
        for part, value in seconds.items():
            self._parts[part].observe(value)

    def dropped(self, reason: str) -> None:
        self._dropped.labels(reason).inc()


class EdgeMetrics:
    """What an edge decides and answers. Told as an observer is: `decided` and `inferred`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._placement: Placement | None = None
        self._inferences = Counter("midcut_edge_inferences", "Inferences answered", ("finished_by",), registry=registry)
        self._fallbacks = Counter(
            "midcut_edge_fallbacks", "Inferences the edge finished in the cloud's place", registry=registry
        )
        self._latency = Histogram(
            "midcut_edge_latency_seconds", "Whole inferences", buckets=_SECONDS, registry=registry
        )
        self._parts = Histogram(
            "midcut_edge_part_seconds", "Parts of an inference", ("part",), buckets=_SECONDS, registry=registry
        )
        self._cost = Counter("midcut_edge_cost_usd", "Cost of all inferences, by the cost model", registry=registry)
        self._sent = Counter("midcut_edge_sent_bytes", "Bytes sent to the cloud", registry=registry)
        self._decisions = Counter("midcut_edge_decisions", "Planning steps", ("held",), registry=registry)
        self._switches = Counter("midcut_edge_switches", "Planning steps that moved the placement", registry=registry)
        self._cut = Gauge("midcut_edge_cut", "The cut in use", registry=registry)
        self._codec = Gauge("midcut_edge_codec", "1 at the codec in use", ("codec",), registry=registry)
        self._weight = Gauge("midcut_edge_weight", "The planner's w: 0 fast, 1 cheap", registry=registry)

    def decided(self, decision: Decision) -> None:
        self._decisions.labels("yes" if decision.held else "no").inc()
        if decision.weight is not None:
            self._weight.set(decision.weight)
        if decision.placement == self._placement:
            return
        if self._placement is not None:
            self._switches.inc()
        self._placement = decision.placement
        self._cut.set(decision.placement.cut)
        self._codec.clear()
        self._codec.labels(decision.placement.codec).set(1)

    def inferred(self, result: InferenceResult) -> None:
        self._inferences.labels(result.finished_by).inc()
        if result.fallback:
            self._fallbacks.inc()
        self._latency.observe(result.latency_s)
        self._parts.labels("edge").observe(result.edge_s)
        self._parts.labels("link").observe(result.link_s)
        self._parts.labels("cloud").observe(result.cloud_s)
        self._cost.inc(result.cost_usd)
        self._sent.inc(result.sent_bytes)

    def watch(self, states: Callable[[], Mapping[str, str]]) -> None:
        """Show the breakers too.

        Args:
            states: asked at every scrape: cloud -> `closed`, `half_open` or `open`.
        """
        self.registry.register(_Breakers(states))


class _Breakers:
    def __init__(self, states: Callable[[], Mapping[str, str]]) -> None:
        self._states = states

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "midcut_edge_breaker", "Breaker of each cloud: 0 closed, 1 half-open, 2 open", labels=("cloud",)
        )
        for cloud, state in self._states().items():
            family.add_metric((cloud,), BREAKER_VALUES[state])
        yield family
