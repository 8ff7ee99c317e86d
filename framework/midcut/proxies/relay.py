"""TCP proxies that do something to what passes: the part that listens, connects, stops and cleans up."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

_CONNECT_S: Final = 5.0
_JOIN_S: Final = 5.0


class Relay:
    """A proxy in a thread with an event loop of its own. A context manager; a subclass says how it carries.

    Args:
        what: what errors and the thread call it.
        upstream: HOST:PORT it leads to.
        listen: HOST:PORT to listen on; port 0 lets the system choose.
        new_loop: makes the event loop.

    Raises:
        ConfigError: an address that is none, or on entering, one that cannot be listened on.
    """

    def __init__(
        self,
        what: str,
        upstream: str,
        listen: str,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self.address = listen
        self._what = what
        self._upstream = _address(what, "upstream", upstream)
        self._listen = _address(what, "listen", listen)
        self._connections: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._error: OSError | None = None
        self._loop = new_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)

    @property
    def url(self) -> str:
        """The address as a URL."""
        return f"http://{self.address}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(_JOIN_S)
        if self._error is not None:
            self._thread.join(_JOIN_S)
            raise ConfigError(
                f"{self._what}: cannot listen on {self.address}: {self._error.strerror or self._error}"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_JOIN_S)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, from its first byte to its end."""
        raise NotImplementedError

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to where it leads.

        Raises:
            OSError: it cannot be had (TimeoutError: in time).
        """
        async with asyncio.timeout(_CONNECT_S):
            return await asyncio.open_connection(*self._upstream)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._error = error
        finally:
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, *self._listen)
        host, port = server.sockets[0].getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        # Also those that were being accepted at this moment, and become connections only now.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio says a word about every one of its own that is cancelled.
        connection = self._loop.create_task(self.carry(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)


def told_to_end() -> threading.Event:
    """An event that SIGTERM and SIGINT set. Main thread only."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended


def _address(what: str, which: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{what}: {which} must be HOST:PORT, got {text!r}")
    return host.strip("[]"), int(port)
