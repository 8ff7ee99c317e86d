"""Fakes that let a plugin be tested without sockets, clocks or a network."""

from __future__ import annotations

import itertools
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from midcut.config.registry import registry
from midcut.errors import CloudRefusedError, CloudUnreachableError, TelemetryError
from midcut.fields import known_fields
from midcut.types import Forecast, HeldModel, Placements, TailReply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import ArrayLike

    from midcut.graph import Partition
    from midcut.types import Floats, Observation, TailRequest


class LoopbackTransport:
    """A transport whose cloud is a partition in this process: no sockets, no encoding.

    Attributes:
        up: set it to False to play a cloud that cannot be reached.
        requests: the requests that were served, in order.
    """

    def __init__(self, *partitions: Partition) -> None:
        self.up = True
        self.requests: list[TailRequest] = []
        self._partitions = {partition.table.model: partition for partition in partitions}

    async def open(self) -> None:
        """Nothing to open."""

    async def infer(self, request: TailRequest) -> TailReply:
        """Run the tail here.

        Raises:
            CloudUnreachableError: `up` is False.
            CloudRefusedError: no partition of that name was given.
        """
        if not self.up:
            raise CloudUnreachableError("the loopback cloud is switched off")
        partition = self._partitions.get(request.model)
        if partition is None:
            raise CloudRefusedError(
                f"no model {request.model!r}; there are: {', '.join(self._partitions)}", http_status=404
            )
        self.requests.append(request)
        start = perf_counter()
        values = partition.tail(request.cut, tuple(request.values))
        seconds = perf_counter() - start
        size = sum(value.numel() * value.element_size() for value in request.values if not isinstance(value, int))
        return TailReply(
            values=values, compute_s=seconds, server_s=seconds, sent_bytes=size, received_bytes=0, wall_s=seconds
        )

    async def listing(self) -> Mapping[str, HeldModel]:
        """List the partitions as the models of the cloud.

        Raises:
            CloudUnreachableError: `up` is False.
        """
        if not self.up:
            raise CloudUnreachableError("the loopback cloud is switched off")
        return {
            name: HeldModel(partition.table.fingerprint, partition.legal, probe=partition.probe)
            for name, partition in self._partitions.items()
        }

    async def close(self) -> None:
        """Nothing to close."""


class ScriptedTelemetry:
    """A telemetry source that returns prepared readings: one entry a read, then the last one again and again.

    Args:
        script: mappings to return; an exception instance among them is raised instead.
        interval_s: seconds between two reads.
    """

    def __init__(self, script: Iterable[Mapping[str, float] | Exception], interval_s: float = 0.01) -> None:
        self.interval_s = interval_s
        self.reads = 0
        self.closed = False
        self._script = list(script)
        if not self._script:
            raise TelemetryError("the script is empty")

    def read(self) -> Mapping[str, float]:
        entry = self._script[min(self.reads, len(self._script) - 1)]
        self.reads += 1
        if isinstance(entry, Exception):
            raise entry
        return entry

    def close(self) -> None:
        self.closed = True


def installed_fields() -> set[str]:
    """Names of the observation fields that midcut and the installed plugins know."""
    registry()
    return set(known_fields())


def chain_placements(payload_bytes: Iterable[float], model: str = "chain") -> Placements:
    """Placements of a chain of layers with one tensor per cut; at the last cut nothing is sent.

    Args:
        payload_bytes: bytes of the tensor, without encoding, at cut 0, 1, ..., N.
    """
    sizes = np.array(list(payload_bytes), dtype=np.float64)
    index = np.arange(len(sizes), dtype=np.intp)
    on_edge = index == len(sizes) - 1
    return Placements(
        model=model,
        cut=index,
        layer=index,
        payload_bytes=sizes,
        request_bytes=np.where(on_edge, 0.0, sizes * 4 / 3 + 500),
        reply_bytes=np.where(on_edge, 0.0, 6000.0),
        on_edge=on_edge,
        nodes=len(sizes) - 1,
        layers=len(sizes) - 1,
        graph="",
    )


def pair_placements(payload_bytes: Iterable[float], model: str = "chain") -> Placements:
    """Placements of a chain on three tiers: every pair of cuts, (0, 0), (0, 1), ..., (N, N).

    Args:
        payload_bytes: bytes of the tensor, without encoding, at cut 0, 1, ..., N.
    """
    chain = chain_placements(payload_bytes, model)
    first, second = np.triu_indices(len(chain))
    return replace(chain.take(first), onward=chain.take(second))


class FixedSeconds:
    """A latency predictor that needs no observation.

    Args:
        seconds: what it predicts for each placement, shape (P,).
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, seconds: ArrayLike) -> None:
        self._seconds = np.asarray(seconds, dtype=np.float64)

    def seconds(self, observation: Observation) -> Floats:  # noqa: ARG002 - the protocol
        """See `midcut.protocols.LatencyPredictor`."""
        return self._seconds


def random_forecast(
    generator: np.random.Generator, placements: int, leading: tuple[int, ...] = (), levels: int | None = None
) -> Forecast:
    """A forecast in which every part is random and independent.

    Args:
        generator: source of the random numbers.
        placements: how many, P.
        leading: shape of the observations; the arrays have the shape (*leading, P).
        levels: how many distinct values there are, to make ties likely; None draws real numbers.
    """

    def random_part(scale: float) -> np.ndarray:
        shape = (*leading, placements)
        if levels is None:
            return generator.random(shape) * scale
        return generator.integers(0, levels, shape) * (scale / levels)

    edge_s, cost_usd = random_part(1.0), random_part(1e-5)
    zeros = np.zeros_like(edge_s)
    sizes = itertools.repeat(1000.0, placements)
    return Forecast(chain_placements(sizes), edge_s, zeros, zeros, cost_usd)
