"""An EMULATED link: a TCP proxy on real sockets that is as slow as it is told.

    python -m midcut.proxies.link --listen 127.0.0.1:8701 --upstream 127.0.0.1:8700 --trace link.csv

What goes through it is late and slow; a TCP connect to it is not, as the proxy itself accepts at once. So measure
ping through it with `telemetry=http_ping`. `bandwidth_kbps` counts the bytes of the connection, without the headers
of TCP and IP, and applies to each direction; half of `ping_ms` to each.
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import sys
from typing import TYPE_CHECKING

from midcut.errors import ConfigError, MidcutError
from midcut.proxies.relay import Relay, told_to_end
from midcut.proxies.shaping import Direction, join
from midcut.traces import Playback, read_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class ShapedLink(Relay):
    """The proxy, in a thread with an event loop of its own. A context manager.

        state = {"bandwidth_kbps": 10_000, "ping_ms": 20}
        with ShapedLink("127.0.0.1:8700", lambda: state) as link:
            ...  # talk to link.address; change `state` at will

    Args:
        upstream: HOST:PORT it leads to.
        shape: called for every chunk: `bandwidth_kbps` (absent: no limit) and `ping_ms` (absent: none).
            `Playback.now` of a trace fits.
        listen: HOST:PORT to listen on; port 0 lets the system choose.

    Raises:
        ConfigError: an address that is none, or on entering, one that cannot be listened on.
    """

    def __init__(self, upstream: str, shape: Callable[[], Mapping[str, float]], *, listen: str = "127.0.0.1:0") -> None:
        super().__init__("EMULATED link", upstream, listen, _prompt_loop)
        self._up, self._down = Direction(shape), Direction(shape)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            far = await self.connect()
            ends.append(far[1])
            await join((reader, writer), far, self._up, self._down)
        except* OSError:  # a side that broke, or was never there: the other one breaks too
            for end in ends:
                end.transport.abort()
        finally:
            for end in ends:
                end.close()


def _prompt_loop() -> asyncio.AbstractEventLoop:
    # The default epoll loop rounds waits up to 1 ms, which makes 1 MB take up to twice its time.
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m midcut.proxies.link", description="An EMULATED slow link.")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0 lets the system choose")
    parser.add_argument("--upstream", required=True, metavar="HOST:PORT", help="where the cloud listens")
    parser.add_argument("--trace", required=True, metavar="FILE", help="CSV or JSON with bandwidth_kbps and ping_ms")
    parser.add_argument("--epoch-s", type=float, metavar="S", help="when the trace starts, seconds since the epoch")
    parser.add_argument("--speed", type=float, default=1.0, help="2 plays the trace twice as fast")
    parser.add_argument("--loop", action="store_true", help="start the trace again at its end")
    return parser


def _play(options: argparse.Namespace) -> Playback:
    trace = read_trace(options.trace)
    if not {"bandwidth_kbps", "ping_ms"} & set(trace.fields):
        raise ConfigError(f"{options.trace}: an emulated link needs the column bandwidth_kbps or ping_ms")
    return Playback(trace, epoch_s=options.epoch_s, speed=options.speed, loop=options.loop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy until SIGTERM or SIGINT. Returns the exit status."""
    options = _arguments().parse_args(arguments)
    ended = told_to_end()
    try:
        playback = _play(options)
        with ShapedLink(options.upstream, playback.now, listen=options.listen) as link:
            duration_s = playback.trace.duration_s
            sys.stdout.write(
                f"EMULATED link ready: {link.address} -> {options.upstream}, {options.trace} ({duration_s:g} s)\n"
            )
            sys.stdout.flush()
            ended.wait()
    except MidcutError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
