"""HTTP/1.1 for one thing only: POST a body in pieces, take the answer, keep the connection. Parsing is llhttp's.

A general client spends more time on a small request than the socket does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

import httptools
from msgspec.structs import replace

from midcut.wire.tcp import own_socket, tcp_info

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from midcut.types import TcpInfo

_MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024
# Up to here pieces are joined: one packet more costs more than the copy.
_JOINED_BYTES: Final = 64 * 1024
# So much is given to the socket at once; what it does not take at once is copied.
_WRITE_BYTES: Final = 256 * 1024


class ConnectionLostError(Exception):
    """The connection ended before the answer did."""


class InvalidResponseError(Exception):
    """What came is no answer."""


@dataclass
class Answer:
    """What came back.

    Attributes:
        chunks: the body as it came.
        headers: as they came, but for names in lower case; of those sent twice, the last.
        sent_bytes, received_bytes: on the connection, heads included (TLS not counted).
        wall_s: from the first byte written to the last byte read.
        tcp: what the kernel says then; None where it says nothing.
        fresh: nothing was exchanged on the connection before.
    """

    status: int = 0
    chunks: list[bytes] = field(default_factory=list)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    sent_bytes: int = 0
    received_bytes: int = 0
    wall_s: float = 0.0
    keep: bool = False
    fresh: bool = False
    tcp: TcpInfo | None = None

    def header(self, name: str) -> str | None:
        """A header's value, None where there is none."""
        value = self.headers.get(name.lower().encode())
        return None if value is None else value.decode("latin-1").strip()


class Connection(asyncio.Protocol):
    """A connection that carries one exchange after another."""

    def __init__(self) -> None:
        self.usable = False
        self._used = False
        self._delivery_kbps = 0.0
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._done: asyncio.Future[Answer] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._in_head = True
        self._written = self._spoilt = False

    async def exchange(self, head: bytes, pieces: Sequence[memoryview], until_s: float) -> Answer:
        """Send one request and take its answer.

        Args:
            until_s: give up then, by the event loop's clock.

        Raises:
            ConnectionLostError, InvalidResponseError, TimeoutError: the connection is of no use any more.
        """
        transport, loop = self._transport, asyncio.get_running_loop()
        if transport is None or not self.usable:
            raise ConnectionLostError("it is closed")
        self.usable = self._written = self._spoilt = False
        self._in_head = True
        self._done = loop.create_future()
        sent_bytes = len(head) + sum(piece.nbytes for piece in pieces)
        self._answer = answer = Answer(sent_bytes=sent_bytes, fresh=not self._used)
        self._used = True
        started = perf_counter()
        alarm = loop.call_at(until_s, self._give_up)
        try:
            if answer.sent_bytes <= _JOINED_BYTES:
                transport.write(b"".join((head, *pieces)))
                self._written = True
            else:
                await self._write(transport, head, pieces)
            await self._done
        except BaseException:
            self._done.cancel()  # what ends the connection then is news to nobody
            transport.abort()
            raise
        finally:
            alarm.cancel()
        answer.wall_s = perf_counter() - started
        answer.tcp = self._kernel_says()
        self.usable = answer.keep and self._written and not (self._spoilt or transport.is_closing())
        if not self.usable:
            transport.abort()
        return answer

    async def _write(self, transport: asyncio.Transport, head: bytes, pieces: Sequence[memoryview]) -> None:
        transport.write(head)
        for piece in pieces:
            for at in range(0, piece.nbytes, _WRITE_BYTES):
                if self._writable is not None:
                    await self._writable
                if self._done is None or self._done.done():
                    return  # it answers, or is gone, before it has all: no more is needed
                transport.write(piece[at : at + _WRITE_BYTES])
        self._written = True

    def _kernel_says(self) -> TcpInfo | None:
        """After an exchange, once; None where the kernel says nothing."""
        info = tcp_info(self._socket)
        if info is None:
            return None
        # The kernel keeps a rate until a better one: the rate of an earlier exchange says nothing of this one.
        stale, self._delivery_kbps = info.delivery_kbps == self._delivery_kbps, info.delivery_kbps
        return replace(info, app_limited=True) if stale else info

    def _give_up(self) -> None:
        self._fail(TimeoutError())
        self.resume_writing()

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()
        self._forget_socket()

    def _forget_socket(self) -> None:
        own, self._socket = self._socket, None
        if own is not None:
            own.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._socket = own_socket(transport.get_extra_info("socket"))
        self.usable = True

    def data_received(self, data: bytes) -> None:
        answer, done = self._answer, self._done
        if answer is None or done is None or done.done():
            self.close()  # nobody asked
            return
        answer.received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(InvalidResponseError(str(error) or type(error).__name__))
        except httptools.HttpParserUpgrade:
            self._fail(InvalidResponseError("it wants another protocol"))
        if answer.received_bytes > (_MAX_HEAD_BYTES if self._in_head else _MAX_ANSWER_BYTES):
            self._fail(InvalidResponseError(f"the reply is over {answer.received_bytes - 1} bytes"))

    def eof_received(self) -> bool:
        return False  # asyncio closes, and tells `connection_lost`

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._forget_socket()
        if self._answer is not None and self._until_the_end():
            self.on_message_complete()
        self._fail(ConnectionLostError(str(exc) if exc else "the other side closed it"))
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _until_the_end(self) -> bool:
        """Whether the answer's end is the connection's: it has neither a length nor chunks."""
        if self._answer is None or self._in_head:
            return False
        return self._answer.header("content-length") is None and self._answer.header("transfer-encoding") is None

    def _fail(self, error: Exception) -> None:
        self.usable = False
        self._spoilt = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._done is None or self._done.done():
            self._spoilt = True  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None and not self._spoilt:
            self._answer.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_head = False

    def on_body(self, chunk: bytes) -> None:
        if self._answer is not None and not self._spoilt:
            self._answer.chunks.append(chunk)

    def on_message_complete(self) -> None:
        answer, done = self._answer, self._done
        if answer is None or done is None or done.done():
            return
        answer.status = self._parser.get_status_code()
        if answer.status < HTTPStatus.OK:  # an interim answer; the one that counts follows
            answer.headers.clear()
            self._in_head = True
            return
        answer.keep = self._parser.should_keep_alive()
        done.set_result(answer)
