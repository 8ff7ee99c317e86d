"""POST /v1/infer over a pool of kept-alive connections; whatever goes wrong is a `CloudError`."""

from __future__ import annotations

import asyncio
import io
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from yarl import URL

from midcut import wire
from midcut.errors import CloudRefusedError, CloudTimeoutError, CloudUnreachableError, ConfigError, MalformedError
from midcut.types import TailReply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import SimpleNamespace

    import torch

    from midcut.types import HeldModel, TailRequest

_MAX_REPLY_BYTES: Final = 256 * 1024 * 1024
# aiohttp warns of larger bodies given as bytes: it would copy them in one go.
_ONE_WRITE_BYTES: Final = 1024 * 1024
# Making or reading JSON of more bytes than this would hold up the other requests: about a millisecond.
_ON_THREAD_BYTES: Final = 256 * 1024
# What aiohttp adds by itself is left out, so that `wire.request_bytes` is what is really written.
_SKIPPED_HEADERS: Final = ("Accept", "Accept-Encoding", "User-Agent")


class HttpTransport:
    """The built-in transport `http`.

    Raises:
        ConfigError: the url is none, or a time-out is not over 0.
    """

    def __init__(self, url: str, timeout_s: float, connect_timeout_s: float) -> None:
        parsed = URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"transport.url must look like http://host:port, got {url!r}")
        for name, value in (("timeout_s", timeout_s), ("connect_timeout_s", connect_timeout_s)):
            if not value > 0.0:
                raise ConfigError(f"transport.{name} must be over 0, got {value}")
        base = str(parsed).rstrip("/")
        self._url, self._models_url = URL(base + wire.INFER_PATH), URL(base + wire.MODELS_PATH)
        self._host = self._url.authority if self._url.explicit_port else str(self._url.host_subcomponent)
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_SKIPPED_HEADERS,
                trace_configs=[_first_byte()],
            )

    async def infer(self, request: TailRequest) -> TailReply:
        try:
            body = await _off_loop(_payload_bytes(request), wire.encode_request, request)
        except MalformedError as error:
            raise CloudRefusedError(str(error), said=HTTPStatus.BAD_REQUEST) from error
        async with self._in_time():
            answer = await self._with_retry(body)
        values, compute_s, server_s = await _off_loop(len(answer.body), _checked, request, answer.body)
        sent = wire.request_head_bytes(len(body), self._host, self._url.raw_path) + len(body)
        received = answer.head_bytes + len(answer.body)
        return TailReply(values, compute_s, server_s, sent_bytes=sent, received_bytes=received, wall_s=answer.wall_s)

    async def listing(self) -> Mapping[str, HeldModel]:
        async with self._in_time(), self._opened().get(self._models_url, allow_redirects=False) as response:
            answer = await _whole(response)
        try:
            return wire.read_models(answer)
        except MalformedError as error:
            raise CloudRefusedError(
                f"{self._models_url} does not list models as a midcut cloud does: {error}"
            ) from None

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Bound what is done inside by `timeout_s`, and make a `CloudError` of whatever goes wrong."""
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except aiohttp.ConnectionTimeoutError:
            raise CloudTimeoutError(
                f"no connection to {self._url.authority} in {self._connect_timeout_s:g} s"
            ) from None
        except TimeoutError:
            raise CloudTimeoutError(f"no answer from {self._url.authority} in {self._timeout_s:g} s") from None
        except (aiohttp.ClientPayloadError, aiohttp.ServerConnectionError, ConnectionError) as error:
            raise CloudUnreachableError(f"connection to {self._url.authority} broke: {_line(error)}") from None
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise CloudUnreachableError(f"cannot reach {self._url.authority}: {_line(error)}") from None
        except aiohttp.ClientError as error:
            raise CloudRefusedError(f"{self._url.authority} does not speak HTTP as it should: {_line(error)}") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _with_retry(self, body: bytes) -> _Answer:
        """Try twice where a kept connection turns out to be closed: aiohttp itself retries no POST.

        An inference changes nothing in the cloud, so that sending it again is safe.
        """
        try:
            return await self._exchange(body)
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await self._exchange(body)

    async def _exchange(self, body: bytes) -> _Answer:
        data = body if len(body) <= _ONE_WRITE_BYTES else io.BytesIO(body)
        headers = {"Content-Type": wire.JSON_TYPE}
        watch = _Watch(perf_counter())
        async with self._opened().post(
            self._url, data=data, headers=headers, allow_redirects=False, trace_request_ctx=watch
        ) as response:
            answer = await _whole(response)
            return _Answer(answer, _head_bytes(response), perf_counter() - watch.first_byte_s)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise CloudUnreachableError("the transport is not open")
        return self._session


@dataclass(frozen=True)
class _Answer:
    body: bytes
    head_bytes: int
    wall_s: float


@dataclass
class _Watch:
    """When a request's first byte was written; connecting comes before that."""

    first_byte_s: float


def _first_byte() -> aiohttp.TraceConfig:
    async def writing(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
        if isinstance(context.trace_request_ctx, _Watch):
            context.trace_request_ctx.first_byte_s = perf_counter()

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(writing)
    return config


async def _off_loop(size_bytes: int, work: Callable[..., Any], *arguments: Any) -> Any:
    """Do big work on a thread, small work at once."""
    return await asyncio.to_thread(work, *arguments) if size_bytes > _ON_THREAD_BYTES else work(*arguments)


def _payload_bytes(request: TailRequest) -> int:
    return sum(value.numel() * value.element_size() for value in request.values if not isinstance(value, int))


def _checked(request: TailRequest, answer: bytes) -> tuple[list[torch.Tensor | int], float, float]:
    try:
        reply = wire.read_reply(answer)
        values = wire.decode_values(reply.values)
    except MalformedError as error:
        raise CloudRefusedError(f"the cloud's reply is none: {error}") from None
    if reply.request_id != request.request_id:
        raise CloudRefusedError(f"the cloud answered request {reply.request_id!r}, asked was {request.request_id!r}")
    return values, reply.compute_s, reply.server_s


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body of a 200; anything else is a refusal."""
    answer = await _read(response)
    if response.status != HTTPStatus.OK:
        raise CloudRefusedError(f"the cloud says {response.status}: {wire.read_error(answer)}", said=response.status)
    return answer


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if "Content-Encoding" in response.headers:
        raise CloudRefusedError(f"the reply is {response.headers['Content-Encoding']}-encoded, which nobody asked for")
    answer = bytearray()
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > _MAX_REPLY_BYTES:
            response.close()
            raise CloudRefusedError(f"the reply is over {_MAX_REPLY_BYTES} bytes")
    return bytes(answer)


def _head_bytes(response: aiohttp.ClientResponse) -> int:
    status_line = len(f"HTTP/1.1 {response.status} {response.reason}\r\n")
    return status_line + sum(len(name) + len(value) + 4 for name, value in response.raw_headers) + 2


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
