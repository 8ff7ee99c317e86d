"""An EMULATED link: a TCP proxy on real sockets with the bandwidth and delay of a trace.

    python -m midcut.proxies.link --listen 127.0.0.1:8701 --upstream 127.0.0.1:8700 --trace link.csv

The bytes that go through it are delayed and paced; a TCP connect to it is not, as the proxy itself accepts at once. So
measure ping through it with `telemetry=http_ping`. `bandwidth_kbps` counts the bytes of the connection, without the
headers of TCP and IP, and applies to each direction; half of `ping_ms` to each.
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import sys
from typing import TYPE_CHECKING, Final

from midcut.errors import ConfigError
from midcut.proxies.relay import Direction, Relay, run_proxy
from midcut.traces import Playback, read_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# A wake-up that is late by less than this costs no bandwidth, as the virtual clock may lag behind by this much.
_SLACK_S: Final = 0.003
_CHUNK_S: Final = 0.002
_MIN_CHUNK: Final = 1448
_MAX_CHUNK: Final = 65536
# In an outage a chunk waits this rate's time at most, so that the link is tried again soon after it.
_LEAST_KBPS: Final = 8.0


class PacedDirection(Direction):
    """Rate and delay, shared by all connections that go this way.

    The serialiser is a virtual clock: each chunk occupies the link for bytes * 8 / rate after the one before it, and
    arrives half a round trip later.

    Args:
        shape: gives the conditions of the moment: `bandwidth_kbps` (absent: no limit) and `ping_ms` (absent: none).
    """

    queued_chunks = 1024

    def __init__(self, shape: Callable[[], Mapping[str, float]]) -> None:
        self._shape = shape
        self._free_s = 0.0

    def chunk_bytes(self) -> int:
        """What the link carries in some 2 ms, so that a fast link costs few wake-ups."""
        rate_kbps = self._shape().get("bandwidth_kbps")
        return _MAX_CHUNK if rate_kbps is None else int(min(max(rate_kbps * 125 * _CHUNK_S, _MIN_CHUNK), _MAX_CHUNK))

    def schedule(self, size_bytes: int, now_s: float, waited_s: float) -> tuple[float, float]:
        shape = self._shape()
        rate_kbps = shape.get("bandwidth_kbps")
        on_link_s = 0.0 if rate_kbps is None else size_bytes * 8 / (max(rate_kbps, _LEAST_KBPS) * 1e3)
        late_s = max(_SLACK_S - waited_s, 0.0)  # an idle link does not save up bandwidth
        self._free_s = max(self._free_s, now_s - late_s) + on_link_s
        return self._free_s, max(self._free_s, now_s) + shape.get("ping_ms", 0.0) / 2e3


class ShapedLink(Relay):
    """The proxy, in a thread with an event loop of its own. A context manager.

        state = {"bandwidth_kbps": 10_000, "ping_ms": 20}
        with ShapedLink("127.0.0.1:8700", lambda: state) as link:
            ...  # talk to link.address; change `state` at will

    Args:
        upstream: HOST:PORT to which it connects.
        shape: called for every chunk: `bandwidth_kbps` (absent: no limit) and `ping_ms` (absent: none).
            `Playback.now` of a trace fits.
        listen: HOST:PORT to listen on; port 0 lets the system choose.

    Raises:
        ConfigError: an address is not HOST:PORT, or on entering, cannot be listened on.
    """

    def __init__(self, upstream: str, shape: Callable[[], Mapping[str, float]], *, listen: str = "127.0.0.1:0") -> None:
        super().__init__("EMULATED link", upstream, listen, _prompt_loop)
        self._directions = PacedDirection(shape), PacedDirection(shape)

    def directions(self) -> tuple[Direction, Direction]:
        return self._directions


def _prompt_loop() -> asyncio.AbstractEventLoop:
    # The default epoll loop rounds waits up to 1 ms, which makes 1 MB take up to twice its time.
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def _build_link(options: argparse.Namespace) -> tuple[Relay, str]:
    trace = read_trace(options.trace)
    if not {"bandwidth_kbps", "ping_ms"} & set(trace.fields):
        raise ConfigError(f"{options.trace}: an emulated link needs the column bandwidth_kbps or ping_ms")
    playback = Playback(trace, epoch_s=options.epoch_s, speed=options.speed, loop=options.loop)
    link = ShapedLink(options.upstream, playback.now, listen=options.listen)
    return link, f"{options.trace} ({playback.trace.duration_s:g} s)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy until SIGTERM or SIGINT. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m midcut.proxies.link", description="An EMULATED slow link.")
    parser.add_argument("--trace", required=True, metavar="FILE", help="CSV or JSON with bandwidth_kbps and ping_ms")
    parser.add_argument("--epoch-s", type=float, metavar="S", help="when the trace starts, seconds since the epoch")
    parser.add_argument("--speed", type=float, default=1.0, help="2 plays the trace twice as fast")
    parser.add_argument("--loop", action="store_true", help="start the trace again at its end")
    return run_proxy(parser, _build_link, arguments)


if __name__ == "__main__":
    sys.exit(main())
