"""A client for requests that are none: bytes out, status and body back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from malformed_requests import Request, Sample

ANSWER_S = 20.0
_PATIENCE_S = 0.1


class RawConnection:
    """A connection that is made anew when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: Request) -> tuple[int, bytes]:
        """Status and body; status 0 where the connection was closed, -1 where nothing came in time."""
        kept = self._ends is not None
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._once(request)
        except TimeoutError:
            self.close()
            return -1, b"no answer in time"
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            if kept and request.framed:  # the server may have closed it after the last answer
                return await self.exchange(request)
            return 0, b""

    async def _once(self, request: Request) -> tuple[int, bytes]:
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        reader, writer = self._ends
        writer.write(request.encoded())
        begun = b""
        if not request.framed:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    begun = await reader.readexactly(1)
            except TimeoutError:
                writer.write_eof()  # the server waits for more, which never comes
        head = (begun + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        length = next((int(one[15:]) for one in head.split("\r\n") if one.startswith("content-length:")), 0)
        answer = b"" if request.method == "HEAD" else await reader.readexactly(length)
        if not request.framed or "connection: close" in head:
            self.close()
        return status, answer

    def close(self) -> None:
        if self._ends is not None:
            self._ends[1].transport.abort()
            self._ends = None


async def exchange(port: int, request: Request) -> tuple[int, bytes]:
    connection = RawConnection(port)
    try:
        return await connection.exchange(request)
    finally:
        connection.close()


def headers_of(sample: Sample, **more: str) -> list[tuple[str, str]]:
    return list(({"Host": "x", **sample.headers, "Content-Length": str(len(sample.body))} | more).items())
