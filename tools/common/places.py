"""Where a benchmark's servers run: on loopback with an emulated link and clock, or on the two hosts of a test bed."""

from __future__ import annotations

import http.client
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from bed import Bed, BedOptions
from bed.links import PAYLOAD_SHARE
from common.connections import OpenedConnection

from midcut.proxies.link import ShapedLink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from common.processes import Popen

CONNECT_S = 120.0


class Place(Protocol):
    """Where clouds and edges run.

    Attributes:
        note: what is emulated.
        cloud_popen, edge_popen: start a process there.
        cloud_host: the address on which servers of the cloud listen.
        payload_share: share of the line's rate that is TCP payload.
    """

    note: str
    cloud_popen: Popen
    edge_popen: Popen
    cloud_host: str
    payload_share: float

    def link(self, stack: ExitStack, url: str, kbps: float) -> str:
        """The address of a server of the cloud behind a link, for as long as the stack is open."""

    def clock(self, folder: Path, share: float, runtime: str | None) -> Sequence[str]:
        """The overrides of an edge at a share of its full clock.

        Args:
            folder: of the edge, for files.
            runtime: what it runs; None for PyTorch, also in an older midcut.
        """

    def set_clock(self, share: float) -> None:
        """Before each request to an edge at a share of its full clock."""

    def connect(self, url: str) -> http.client.HTTPConnection:
        """A connection from the edge's side."""


class Loopback:
    """Everything on this host; each link is a proxy of its own, and an edge's clock stretches its runs."""

    note = "EMULATED link and clock on loopback."
    cloud_popen = edge_popen = staticmethod(subprocess.Popen)
    cloud_host = "127.0.0.1"
    payload_share = 1.0

    def __init__(self, full_mhz: float, ping_ms: float) -> None:
        self._full_mhz, self._ping_ms = full_mhz, ping_ms

    def link(self, stack: ExitStack, url: str, kbps: float) -> str:
        state = {"bandwidth_kbps": float(kbps), "ping_ms": self._ping_ms}
        return stack.enter_context(ShapedLink(url.removeprefix("http://"), lambda: state)).url

    def clock(self, folder: Path, share: float, runtime: str | None) -> Sequence[str]:
        if share == 1.0:
            return (f"executor={runtime or 'native'}",)
        trace = folder / f"{share:g}.csv"
        trace.write_text(f"time_s,clock_mhz\n0,{self._full_mhz * share}\n1,{self._full_mhz * share}\n")
        how = f"executor.trace={trace} executor.max_clock_mhz={self._full_mhz} executor.loop=true"
        run = (f"executor.runtime={runtime}",) if runtime else ()
        return ("executor=emulated_clock", *run, f"executor.root={folder}", *how.split())

    def set_clock(self, share: float) -> None:
        """Each edge has its own clock here."""

    def connect(self, url: str) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(url).netloc, timeout=CONNECT_S)


class OnBed:
    """A test bed: two hosts with a core each, and a real link of packets between them; see `bed.Bed`."""

    payload_share = PAYLOAD_SHARE

    def __init__(self, bed: Bed, ping_ms: float) -> None:
        self._bed, self._ping_ms = bed, ping_ms
        self.cloud_popen, self.edge_popen = bed.cloud.popen, bed.edge.popen
        self.cloud_host = bed.cloud.address
        self.note = " ".join(bed.describe()["notes"])

    def link(self, stack: ExitStack, url: str, kbps: float) -> str:  # noqa: ARG002 - the bed keeps its shape
        self._bed.link.set(bandwidth_kbps=kbps, ping_ms=self._ping_ms)
        return url

    def clock(self, folder: Path, share: float, runtime: str | None) -> Sequence[str]:  # noqa: ARG002
        # The clock is told by `telemetry=constant`, as no file of it could be read between two requests.
        clock = self._bed.clock
        overrides = clock.edge_overrides_for(runtime) if runtime else clock.edge_overrides
        return [override for override in overrides if not override.startswith("telemetry.")]

    def set_clock(self, share: float) -> None:
        self._bed.clock.set(self._bed.clock.max_mhz * share)

    def connect(self, url: str) -> http.client.HTTPConnection:
        at = urlsplit(url)
        host, port = str(at.hostname), int(at.port or 80)
        return OpenedConnection(lambda: self._bed.edge.dial(host, port, CONNECT_S), at.netloc, CONNECT_S)


@contextmanager
def place(full_mhz: float, ping_ms: float, *, on_bed: bool) -> Iterator[Place]:
    """The place of a benchmark, as long as the block.

    Args:
        full_mhz: what an edge's full clock is called.
        ping_ms: of the link.
        on_bed: make a test bed (root; Linux).

    Raises:
        BedUnavailable: there can be none here.
    """
    if not on_bed:
        yield Loopback(full_mhz, ping_ms)
        return
    with Bed(BedOptions(clock="cooperative", max_clock_mhz=full_mhz)) as bed:
        yield OnBed(bed, ping_ms)
