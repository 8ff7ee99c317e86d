"""An HTTP client that sends any bytes, also those that are no valid request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from malformed_requests import Request, Sample

ANSWER_S = 20.0
_FIRST_BYTE_S = 0.1


class RawConnection:
    """A connection that opens again when it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: Request) -> tuple[int, bytes]:
        """Status and body; status 0 where the connection was closed, -1 where nothing came in time."""
        reused = self._streams is not None
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._exchange(request)
        except TimeoutError:
            self.close()
            return -1, b"no answer in time"
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            if reused and request.framed:  # the server may have closed it after the last answer
                return await self.exchange(request)
            return 0, b""

    async def _exchange(self, request: Request) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        reader, writer = self._streams
        writer.write(request.encoded())
        first = b""
        if not request.framed:
            try:
                async with asyncio.timeout(_FIRST_BYTE_S):
                    first = await reader.readexactly(1)
            except TimeoutError:
                writer.write_eof()  # tells a server that waits for more that no more comes
        header = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(header.split(" ", 2)[1])
        length = next((int(field[15:]) for field in header.split("\r\n") if field.startswith("content-length:")), 0)
        answer = b"" if request.method == "HEAD" else await reader.readexactly(length)
        if not request.framed or "connection: close" in header:
            self.close()
        return status, answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def exchange(port: int, request: Request) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own."""
    connection = RawConnection(port)
    try:
        return await connection.exchange(request)
    finally:
        connection.close()


def headers_of(sample: Sample, **changes: str) -> list[tuple[str, str]]:
    return list(({"Host": "x", **sample.headers, "Content-Length": str(len(sample.body))} | changes).items())
