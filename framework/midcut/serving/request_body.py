"""Reads request bodies within limits of size and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import http_exceptions, web

from midcut.errors import DamagedError, TooLargeError
from midcut.serving.body_budget import BODIES, UPLOAD
from midcut.serving.error_responses import RECEIVED, RefusedError
from midcut.wire import oip
from midcut.wire.body import Body

if TYPE_CHECKING:
    from collections.abc import Callable


_SMALL_BYTES: Final = 16 * 1024
AWAITS_CONTINUE: Final = web.RequestKey("awaits_continue", bool)
"""Set where the client sends the body only when it is asked for (`Expect: 100-continue`)."""


async def read_body(request: web.Request, limit_bytes: int, timeout_s: float) -> bytes:
    """Read a whole body. It is held in chunks: arrays that grow side by side leave holes of their size in memory.

    Raises:
        TooLargeError: over the limit, by its Content-Length or in fact.
        DamagedError: the request has a checksum, and it is not that of what arrived.
        RefusedError: encoded (415), too slow or not complete in time (408), or with invalid HTTP framing (400).
        BusyError: the server holds too many bytes, and this upload is the slowest.
    """
    chunks = _Chunks()
    await _consume_chunks(request, limit_bytes, timeout_s, chunks.add)
    return b"".join(chunks.chunks)


async def read_chunks(request: web.Request, limit_bytes: int, timeout_s: float) -> Body:
    """Read a whole body as the chunks in which it arrives. Raises like `read_body`."""
    chunks = _Chunks()
    await _consume_chunks(request, limit_bytes, timeout_s, chunks.add)
    return Body(chunks.chunks)


class _Chunks:
    """The chunks of a body as they arrive. Small ones are joined, as each takes memory beside its bytes."""

    def __init__(self) -> None:
        self.chunks: list[bytes | bytearray] = []

    def add(self, chunk: bytes) -> None:
        if not self.chunks or len(chunk) >= _SMALL_BYTES:
            self.chunks.append(chunk)
        elif isinstance(last := self.chunks[-1], bytearray) and len(last) < _SMALL_BYTES:
            last += chunk
        else:
            self.chunks.append(bytearray(chunk))


async def discard_body(request: web.Request, limit_bytes: int, timeout_s: float) -> int:
    """Read a whole body, drop it and return its length. Raises like `read_body`."""
    lengths: list[int] = []
    await _consume_chunks(request, limit_bytes, timeout_s, lambda chunk: lengths.append(len(chunk)))
    return sum(lengths)


async def _consume_chunks(
    request: web.Request, limit_bytes: int, timeout_s: float, consume: Callable[[bytes], object]
) -> None:
    if "Content-Encoding" in request.headers:
        raise RefusedError(415, "encoded bodies are not accepted: send the body without Content-Encoding")
    _check_size(request.content_length or 0, limit_bytes)
    if request.get(AWAITS_CONTINUE):
        await _ask_for_body(request)
    checksum = oip.RequestChecksum(request.match_info.get("model", ""), request.headers.get(oip.HEADER_LENGTH, ""))
    upload = request[UPLOAD] = request.app[BODIES].begin(timeout_s)

    try:
        if request.content.is_eof():  # a small body has arrived already, so that no timeout is needed
            body = request.content.read_nowait()
            upload.hold(len(body))
            _check_size(len(body), limit_bytes)
            checksum.add(body)
            consume(body)
        else:
            with upload.reading() as timeout:
                async with timeout:
                    async for chunk in request.content.iter_any():
                        upload.add(len(chunk))
                        _check_size(upload.received, limit_bytes)
                        checksum.add(chunk)
                        consume(chunk)
    except TimeoutError:
        raise upload.refusal() from None
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as error:
        raise RefusedError(400, f"the body is incomplete or its HTTP framing is invalid: {error}") from None
    request[RECEIVED] = received = checksum.text
    sent = request.headers.get(oip.CHECKSUM_HEADER, oip.DEFERRED)
    if sent not in (received, oip.DEFERRED):
        raise DamagedError(f"the request was damaged on the way: its checksum is {received}, not {sent[:40]!r}")


async def _ask_for_body(request: web.Request) -> None:
    """Send `100 Continue` to a client that waits for it before it sends the body."""
    request[AWAITS_CONTINUE] = False
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise TooLargeError(f"the body is over this server's limit of {limit_bytes} bytes")
