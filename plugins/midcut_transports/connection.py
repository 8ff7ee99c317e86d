"""A minimal HTTP/1.1 client connection: sends a request in pieces and reads its answer. llhttp parses.

A general client spends more time on a small request than the socket does.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

import httptools
from msgspec import Struct
from msgspec.structs import replace

from midcut.types import TcpInfo
from midcut.wire.tcp import own_socket, tcp_info, unacknowledged_bytes

if TYPE_CHECKING:
    import socket

_MAX_HEADER_BYTES: Final = 64 * 1024
# Requests up to this size are joined: one more packet costs more than the copy.
_JOINED_BYTES: Final = 64 * 1024
# Bytes per write: asyncio copies what the socket does not take at once.
_WRITE_BYTES: Final = 256 * 1024


class ConnectionLostError(Exception):
    """The connection ended before the answer did."""


class SilentError(ConnectionLostError):
    """A kept connection took the request and then gave no sign of life."""


class InvalidResponseError(Exception):
    """The bytes that came are not an HTTP response."""


class Request(Struct, frozen=True):
    """What one exchange sends.

    Attributes:
        header: the HTTP header.
        pieces: the body.
        size_bytes: of header and body.
        written: called after each part of the body that is written, and at the end.
    """

    header: bytes
    pieces: Sequence[memoryview]
    size_bytes: int
    written: Callable[[], object] | None = None


class Limits(Struct, frozen=True):
    """What one exchange may take.

    Attributes:
        deadline_at_s: the deadline, by the event loop's clock.
        silent_s: after the request has arrived, how long a kept connection may be silent.
        answer_bytes: the largest answer, HTTP header excluded.
    """

    deadline_at_s: float
    silent_s: float
    answer_bytes: int


class Answer(Struct):
    """A response.

    Attributes:
        chunks: the body as it arrived.
        headers: by name in lower case; the last one of those sent twice.
        sent_bytes, received_bytes: on the connection, HTTP headers included, TLS excluded.
        wall_s: from the first byte written to the last byte read.
        keep_alive: whether the server keeps the connection open.
        fresh: whether this was the first exchange on the connection.
        tcp: the kernel's figures after the exchange; None where it gives none.
    """

    status: int = 0
    chunks: list[bytes] = []
    headers: dict[bytes, bytes] = {}
    sent_bytes: int = 0
    received_bytes: int = 0
    wall_s: float = 0.0
    keep_alive: bool = False
    fresh: bool = False
    tcp: TcpInfo | None = None

    def header(self, name: bytes) -> str | None:
        """A header's value by its name in lower case, None where there is none."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1").strip()


class Connection(asyncio.Protocol):
    """A connection that carries one exchange after another.

    Args:
        prepare: called once with the socket, to set its options.

    Attributes:
        idle_since_at_s: when the last exchange ended, by the event loop's clock.
    """

    def __init__(self, prepare: Callable[[socket.socket], None]) -> None:
        self.usable = False
        self.idle_since_at_s = 0.0
        self._prepare = prepare
        self._limits = Limits(0.0, 0.0, 0)
        self._alarm: asyncio.TimerHandle | None = None
        self._silence_deadline_at_s = math.inf
        self._used = False
        self._delivery_kbps = 0.0
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._headers: dict[bytes, bytes] = {}
        self._done: asyncio.Future[Answer] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._in_header = True
        self._written = self._failed = False

    async def exchange(self, request: Request, limits: Limits) -> Answer:
        """Send one request and read its answer.

        Raises:
            ConnectionLostError, InvalidResponseError, TimeoutError: the connection cannot be used again.
        """
        transport, loop = self._transport, asyncio.get_running_loop()
        if transport is None or not self.usable:
            raise ConnectionLostError("it is closed")
        self.usable = self._written = self._failed = False
        self._in_header = True
        self._done = loop.create_future()
        self._answer = answer = Answer(sent_bytes=request.size_bytes, fresh=not self._used)
        self._headers = answer.headers
        self._limits = limits
        started = perf_counter()
        self._silence_deadline_at_s = loop.time() + limits.silent_s if self._used else math.inf
        self._alarm = loop.call_at(min(limits.deadline_at_s, self._silence_deadline_at_s), self._look)
        self._used = True
        try:
            if request.size_bytes <= _JOINED_BYTES:
                transport.write(b"".join((request.header, *request.pieces)))
                self._written = True
            else:
                await self._write(transport, request)
            if request.written is not None:
                request.written()
            await self._done
        except BaseException:
            self._done.cancel()  # else the end of the connection would be set as its exception
            transport.abort()
            raise
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
        self.idle_since_at_s = loop.time()
        answer.wall_s = perf_counter() - started
        answer.tcp = self._read_tcp_info()
        self.usable = answer.keep_alive and self._written and not (self._failed or transport.is_closing())
        if not self.usable:
            transport.abort()
        return answer

    async def _write(self, transport: asyncio.Transport, request: Request) -> None:
        transport.write(request.header)
        for piece in request.pieces:
            for at in range(0, piece.nbytes, _WRITE_BYTES):
                if self._writable is not None:
                    await self._writable
                if self._done is None or self._done.done():
                    return  # the server answered or closed before the whole request: the rest is not needed
                transport.write(piece[at : at + _WRITE_BYTES])
                if request.written is not None:
                    request.written()
        self._written = True

    def _read_tcp_info(self) -> TcpInfo | None:
        """The kernel's figures after an exchange, to be read once; None where it gives none."""
        info = tcp_info(self._socket)
        if info is None:
            return None
        # The kernel keeps its delivery rate until the next sample: an unchanged rate is that of an earlier exchange.
        stale, self._delivery_kbps = info.delivery_kbps == self._delivery_kbps, info.delivery_kbps
        return replace(info, app_limited=True) if stale else info

    def _look(self) -> None:
        """Give up an exchange that is late, and a kept connection on which nothing comes back."""
        loop, limits = asyncio.get_running_loop(), self._limits
        now = loop.time()
        if now >= limits.deadline_at_s:
            self._fail(TimeoutError())
            return
        if now >= self._silence_deadline_at_s:
            if self._answer is not None and self._answer.received_bytes:
                self._silence_deadline_at_s = math.inf
            elif self._written and not unacknowledged_bytes(self._socket):
                self._fail(SilentError(f"a kept connection was silent for {limits.silent_s:.3g} s"))
                return
            else:  # the request is on its way; TCP_USER_TIMEOUT ends a connection on which nothing is acknowledged
                self._silence_deadline_at_s = now + limits.silent_s
        self._alarm = loop.call_at(min(limits.deadline_at_s, self._silence_deadline_at_s), self._look)

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()
        self._forget_socket()

    def _forget_socket(self) -> None:
        own, self._socket = self._socket, None
        if own is not None:
            own.close()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._socket = own_socket(transport.get_extra_info("socket"))
        if self._socket is not None:
            self._prepare(self._socket)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        answer, done = self._answer, self._done
        if answer is None or done is None or done.done():
            self.close()  # there is no request that this could answer
            return
        answer.received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(InvalidResponseError(str(error) or type(error).__name__))
        except httptools.HttpParserUpgrade:
            self._fail(InvalidResponseError("it switches to another protocol"))
        limit_bytes = _MAX_HEADER_BYTES + (0 if self._in_header else self._limits.answer_bytes)
        if answer.received_bytes > limit_bytes:
            self._fail(InvalidResponseError(f"the reply is over {limit_bytes} bytes"))

    def eof_received(self) -> bool:
        return False  # asyncio closes the connection and calls `connection_lost`

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._forget_socket()
        if self._answer is not None and self._ends_with_connection():
            self.on_message_complete()
        self._fail(ConnectionLostError(str(exc) if exc else "the other side closed it"))

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _ends_with_connection(self) -> bool:
        """Whether the answer ends where the connection does: it has neither a length nor chunked encoding."""
        if self._answer is None or self._in_header:
            return False
        return not self._answer.headers.keys() & {b"content-length", b"transfer-encoding"}

    def _fail(self, error: Exception) -> None:
        self.usable = False
        self._failed = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)
        self.resume_writing()  # whoever writes need not go on

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self._done is None or self._done.done():
            self._failed = True  # a second answer to the same request
            self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_header = False
        length = self._headers.get(b"content-length", b"").strip()
        if length.isdigit() and int(length) > self._limits.answer_bytes:
            told = length[:20].decode()
            self._fail(InvalidResponseError(f"the reply has {told} bytes, over {self._limits.answer_bytes}"))

    def on_body(self, chunk: bytes) -> None:
        if self._answer is not None and not self._failed:
            self._answer.chunks.append(chunk)

    def on_message_complete(self) -> None:
        answer, done = self._answer, self._done
        if answer is None or done is None or done.done():
            return
        answer.status = self._parser.get_status_code()
        if answer.status < HTTPStatus.OK:  # an interim response (1xx); the final one follows
            answer.headers.clear()
            self._in_header = True
            return
        answer.keep_alive = self._parser.should_keep_alive()
        done.set_result(answer)
        self.resume_writing()  # an answer before the whole request is written: the rest is not needed
