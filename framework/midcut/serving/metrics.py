"""The metrics that Prometheus reads at `/metrics` of edge and cloud. Each server has its own registry."""

from __future__ import annotations

import platform
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from midcut.serving.prometheus import FastCounter, FastHistogram, FastHistogramRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import Metric

    from midcut.types import Decision, InferenceResult, Observation, Placement

_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0, 30.0)
_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_BREAKER: Final = ("closed", "half_open", "open")
_ERRORS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_PARTS: Final = ("edge", "link", "cloud", "latency")


def new_registry() -> CollectorRegistry:
    """A registry with the figures of the process (memory, CPU seconds, files), and the versions of what runs."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Gauge(
        "midcut_build_info", "1, with the versions of what runs", ("version", "torch", "python"), registry=registry
    )
    build.labels(metadata.version("midcut"), _version_if_installed("torch"), platform.python_version()).set(1)
    return registry


def _version_if_installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def labelled(registry: CollectorRegistry, **labels: str) -> CollectorRegistry:
    """A registry that shows the metrics of another one with further labels, the same on every sample."""
    outer = CollectorRegistry()
    outer.register(_Labelled(registry, labels))
    return outer


class _Labelled(Collector):
    """Metrics of a registry with further labels."""

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        self._registry, self._labels = registry, labels

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample._replace(labels={**self._labels, **sample.labels}) for sample in family.samples]
            yield family


class ServerMetrics:
    """Counts and times requests of any server, by route and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = FastCounter("midcut_requests", "Requests answered", ("method", "route", "status"), registry)
        self._seconds = FastHistogram(
            "midcut_request_seconds", "Time from a request's HTTP header to its answer", ("route",), _SECONDS, registry
        )
        self._in_flight = 0
        Gauge("midcut_requests_in_flight", "Requests being worked on", registry=registry).set_function(
            lambda: self._in_flight
        )

    def request_started(self) -> None:
        self._in_flight += 1

    def request_finished(self, method: str, route: str, status: int, seconds: float) -> None:
        self._in_flight -= 1
        self._requests.add(method, route, str(status))
        self._seconds.observe(seconds, route)


class CloudMetrics:
    """Tails: the time of their parts, how many wait, how many are computed together.

    Attributes:
        waiting: tails that wait for a worker.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.waiting = 0
        self._parts = FastHistogramRows(
            "midcut_cloud_part_seconds",
            "Parts of an inference: read (the body), parse, queue, compute, encode",
            "part",
            ("read", "parse", "queue", "compute", "encode"),
            _SECONDS,
            registry,
        )
        self._inferences = FastCounter("midcut_cloud_inferences", "Tails answered", ("model", "codec"), registry)
        self.batch_requests = FastHistogram(
            "midcut_cloud_batch_requests", "Requests computed together", (), _BATCH_SIZES, registry
        )
        self._dropped = FastCounter(
            "midcut_cloud_dropped",
            "Requests not computed: the queue was full (busy), too late (expired), the client hung up (gone)",
            ("reason",),
            registry,
        )
        Gauge("midcut_cloud_waiting", "Tails that wait for a worker", registry=registry).set_function(
            lambda: self.waiting
        )

    def show_in_flight(self, count: Callable[[], int]) -> None:
        """Also show how many inferences are accepted and not answered yet."""
        gauge = Gauge("midcut_cloud_taken_in", "Inferences accepted and not answered yet", registry=self._registry)
        gauge.set_function(count)

    def inferred(self, model: str, codec: str, parts_s: tuple[float, float, float, float, float]) -> None:
        """Record an inference and the seconds of its parts: read, parse, queue, compute, encode."""
        self._inferences.add(model, codec)
        self._parts.observe_row(parts_s)

    def dropped(self, reason: str) -> None:
        self._dropped.add(reason)


class EdgeMetrics:
    """An observer of an edge's decisions and answers.

    Args:
        registry: gets the metrics.
        model: the value of their label `model`; without one they have no such label.
    """

    def __init__(self, registry: CollectorRegistry, model: str = "") -> None:
        self.registry = registry
        if model:
            registry, outer = CollectorRegistry(), registry
            outer.register(_Labelled(registry, {"model": model}))
        self._own = registry
        self._observation: Observation | None = None
        self._predicted = FastCounter(
            "midcut_edge_predicted_seconds",
            "Predicted seconds of the requests that had a forecast",
            ("part",),
            registry,
        )
        self._measured = FastCounter(
            "midcut_edge_measured_seconds", "Measured seconds of the same", ("part",), registry
        )
        self._errors = FastHistogram(
            "midcut_edge_prediction_error_ratio", "|predicted - measured| / measured latency", (), _ERRORS, registry
        )
        registry.register(_ScrapedGauges(self._telemetry_gauges))
        self._placement: Placement | None = None
        self._inferences = FastCounter("midcut_edge_inferences", "Inferences answered", ("finished_by",), registry)
        self._fallbacks = FastCounter(
            "midcut_edge_fallbacks", "Inferences the edge finished in the cloud's place", (), registry
        )
        self._latency = FastHistogram("midcut_edge_latency_seconds", "Whole inferences", (), _SECONDS, registry)
        self._parts = FastHistogram("midcut_edge_part_seconds", "Parts of an inference", ("part",), _SECONDS, registry)
        self._cost = FastCounter("midcut_edge_cost_usd", "Cost of all inferences, by the cost model", (), registry)
        self._sent = FastCounter("midcut_edge_sent_bytes", "Bytes sent to the cloud", (), registry)
        self._decisions = FastCounter(
            "midcut_edge_decisions", "Planning steps; held: the planner's choice was not applied", ("held",), registry
        )
        self._switches = FastCounter("midcut_edge_switches", "Planning steps that moved the placement", (), registry)
        self._cut = Gauge("midcut_edge_cut", "The cut in use", registry=registry)
        self._codec = Gauge("midcut_edge_codec", "1 at the codec in use", ("codec",), registry=registry)
        self._weight = Gauge("midcut_edge_weight", "The planner's w: 0 fast, 1 cheap", registry=registry)

    def decided(self, decision: Decision) -> None:
        self._decisions.add("yes" if decision.held else "no")
        self._observation = decision.observation
        if decision.weight is not None:
            self._weight.set(decision.weight)
        if decision.placement == self._placement:
            return
        if self._placement is not None:
            self._switches.add()
        self._placement = decision.placement
        self._cut.set(decision.placement.cut)
        self._codec.clear()
        self._codec.labels(decision.placement.codec).set(1)

    def inferred(self, result: InferenceResult) -> None:
        self._inferences.add(result.finished_by)
        if result.fallback:
            self._fallbacks.add()
        self._latency.observe(result.latency_s)
        for part, seconds in result.parts.items():
            self._parts.observe(seconds, part)
        self._cost.add(by=result.cost_usd)
        self._sent.add(by=result.sent_bytes)
        if result.predicted and not result.fallback:
            self._compare(result)

    def _compare(self, result: InferenceResult) -> None:
        for part in _PARTS:
            self._predicted.add(part, by=result.predicted[f"{part}_s"])
            self._measured.add(part, by=getattr(result, f"{part}_s"))
        if result.latency_s > 0.0:
            self._errors.observe(abs(result.predicted["latency_s"] - result.latency_s) / result.latency_s)

    def _telemetry_gauges(self) -> Iterator[GaugeMetricFamily]:
        """What the last decision was made from; a field without a value is absent."""
        seen = self._observation
        clock, bandwidth, ping = (None,) * 3 if seen is None else (seen.clock_mhz, seen.bandwidth_kbps, seen.ping_ms)
        for name, text, value, factor in (
            ("clock_hertz", "Clock of this machine", clock, 1e6),
            ("bandwidth_bits_per_second", "Bandwidth to the cloud", bandwidth, 1e3),
            ("ping_seconds", "Round trip to the cloud", ping, 1e-3),
        ):
            family = GaugeMetricFamily(f"midcut_edge_{name}", text)
            if value is not None:
                family.add_metric((), float(value) * factor)
            yield family

    def show_calibration(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Also show the corrections of calibration.

        Args:
            state: called at every scrape; gives `parts`, in it part -> `ratio`, `offset_s`, `samples`.
        """
        self._own.register(_ScrapedGauges(partial(_calibration_gauges, state)))

    def show_breakers(self, states: Callable[[], Mapping[str, str]]) -> None:
        """Also show the circuit breakers.

        Args:
            states: called at every scrape; gives cloud -> `closed`, `half_open` or `open`.
        """
        self._own.register(_ScrapedGauges(partial(_breaker_gauges, states)))


class _ScrapedGauges:
    """Gauges whose values are read at each scrape."""

    def __init__(self, collect: Callable[[], Iterator[GaugeMetricFamily]]) -> None:
        self.collect = collect


def _calibration_gauges(state: Callable[[], Mapping[str, Any]]) -> Iterator[GaugeMetricFamily]:
    parts = state()["parts"]
    for name, text, key in (
        ("ratio", "Corrected seconds are ratio * predicted + offset: the ratio", "ratio"),
        ("offset_seconds", "Corrected seconds are ratio * predicted + offset: the offset", "offset_s"),
        ("samples", "Requests that the correction rests on", "samples"),
    ):
        family = GaugeMetricFamily(f"midcut_edge_calibration_{name}", text, labels=("part",))
        for part, correction in parts.items():
            family.add_metric((part,), correction[key])
        yield family


def _breaker_gauges(states: Callable[[], Mapping[str, str]]) -> Iterator[GaugeMetricFamily]:
    family = GaugeMetricFamily(
        "midcut_edge_breaker", "1 at the state of each cloud's breaker", labels=("cloud", "state")
    )
    for cloud, state in states().items():
        for each in _BREAKER:
            family.add_metric((cloud, each), float(each == state))
    yield family
