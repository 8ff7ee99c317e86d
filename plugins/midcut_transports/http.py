"""Requests over a pool of kept-alive connections; every failure is raised as a `CloudError`."""

from __future__ import annotations

import math
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from yarl import URL

from midcut import wire
from midcut.errors import (
    CloudError,
    CloudRefusedError,
    CloudStrangerError,
    CloudTimeoutError,
    CloudUnreachableError,
    CloudVersionError,
    ConfigError,
    MalformedError,
    VersionError,
)
from midcut.types import TailReply
from midcut.wire import oip
from midcut.wire.oip import RAW
from midcut.wire.trace_context import trace_headers
from midcut.wire.version import VERSION, VERSION_HEADER, check_version
from midcut.wire.watched_files import ClientTls, Token
from midcut.wire.workload import SMALL_BYTES, TEXT_WEIGHT, off_loop, values_bytes
from midcut_transports.connection import ConnectionLostError, InvalidResponseError
from midcut_transports.integrity import Integrity
from midcut_transports.pool import NoConnectionInTimeError, Pool, ReusedConnectionTimeoutError
from midcut_transports.strangers import redirect_reason, stranger_reason
from midcut_transports.wire_formats import CHECKSUM, HEADER_LENGTH, OpenInference, Paper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.protocols import Codec
    from midcut.types import HeldModel, TailRequest
    from midcut_transports.connection import Answer
    from midcut_transports.wire_formats import WireFormat

# The cloud may have to measure the model, between the requests that it answers.
_PROFILE_TIMEOUT_S: Final = 120.0
# The largest reply where the request does not say how much is expected.
_REPLY_BYTES: Final = 1_000_000
_LISTING_BYTES: Final = 16_000_000


def http_transport(*, plain: bool = False, **settings: Any) -> HttpTransport:
    """Make the built-in transport `http`; the settings are those of `HttpTransport`.

    Another vendor's server has no list of models, so that its transport is not a `ModelLister`.
    """
    return HttpTransport(**settings, plain=True) if plain else ListingTransport(**settings)


# Statuses of a server without midcut's list of models; 0 is a list that is not midcut's.
_TELLS_ITS_NAME = (0, 400, 404, 405)
_NO_SUCH_LIST = (301, 302, 303, 307, 308, 404, 405)


class HttpTransport:
    """Sends requests for tails to a cloud, or for whole models to another vendor's server.

    Args:
        codecs: by name; a request names one. `raw` needs no codec, `base64` is the paper's interface.

    Raises:
        ConfigError: the url is invalid, a timeout is not finite and over 0, or a token or certificate cannot be read.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        connect_timeout_s: float,
        codecs: Mapping[str, Codec] | None = None,
        *,
        plain: bool = False,
        max_idle_s: float = 60.0,
        token_env: str | None = None,
        token_file: str | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        reply_codec: str | None = None,
    ) -> None:
        parsed = URL(url)
        if parsed.raw_user is not None or parsed.raw_password is not None:  # a password, which no message may show
            raise ConfigError("transport.url must have no user and no password: set transport.token_env or token_file")
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"transport.url must look like http://host:port, got {url!r}")
        limits = {"timeout_s": timeout_s, "connect_timeout_s": connect_timeout_s, "max_idle_s": max_idle_s}
        for name, value in limits.items():
            if not 0.0 < value < math.inf:
                raise ConfigError(f"transport.{name} must be finite and over 0, got {value}")
        if parsed.scheme == "http" and (tls_ca or tls_cert or tls_key):
            raise ConfigError(f"transport.tls_ca, tls_cert and tls_key need an https url, got {url!r}")
        self._scheme = parsed.scheme
        self._tls = ClientTls(tls_ca, tls_cert, tls_key) if parsed.scheme == "https" else None
        self._token = Token(token_env, token_file)
        self._prefix = parsed.raw_path.rstrip("/")
        # As on the wire: an international name is punycode, an IPv6 address is in brackets.
        self._address = f"{parsed.host_subcomponent}:{parsed.port}"
        host = self._address if parsed.explicit_port else str(parsed.host_subcomponent)
        self._host_header = f"Host: {host}\r\n"
        self._host, self._port = str(parsed.raw_host), parsed.port or 80
        self._timeout_s, self._connect_timeout_s, self._max_idle_s = timeout_s, connect_timeout_s, max_idle_s
        self._plain = plain
        self._checks_requests = False
        asked = None if reply_codec is None else (codecs or {}).get(reply_codec)
        if asked is None and reply_codec is not None:
            there = ", ".join(codecs or ()) or "none"
            raise ConfigError(
                f"transport.reply_codec={reply_codec} is not among the edge's codecs: {there} (codec=...)"
            )
        self._wire_formats: dict[str, WireFormat] = {
            **{name: OpenInference(codec, reply_codec=asked) for name, codec in (codecs or {}).items()},
            RAW: OpenInference(plain=plain, reply_codec=asked),
            wire.PAPER: Paper(),
        }
        self._pool: Pool | None = None

    async def open(self) -> None:
        if self._pool is None:
            self._pool = Pool(
                self._host,
                self._port,
                self._connect_timeout_s,
                self._tls,
                max_idle_s=self._max_idle_s,
                unacknowledged_s=max(self._connect_timeout_s, self._timeout_s / 2),
            )

    async def infer(self, request: TailRequest) -> TailReply:
        timeout_s = self._timeout_s if request.timeout_s is None else min(request.timeout_s, self._timeout_s)
        wire_format = self._wire_formats.get(request.codec)
        if wire_format is None:
            raise CloudRefusedError(f"no codec {request.codec!r} here", http_status=HTTPStatus.BAD_REQUEST)
        started = perf_counter()
        try:
            encoded = await off_loop(_payload_bytes(request), wire_format.encode, request, timeout_s)
        except MalformedError as error:
            raise CloudRefusedError(str(error), http_status=HTTPStatus.BAD_REQUEST) from error
        integrity = Integrity(
            encoded.model, encoded.header_length, encoded.pieces, encoded.size_bytes, expected=self._checks_requests
        )
        left_s = timeout_s - (perf_counter() - started)
        headers = (
            _id_header(request.request_id)
            + trace_headers()
            + encoded.headers
            + ("" if self._plain else integrity.header)
            + f"Content-Length: {encoded.size_bytes}\r\n"
        )
        limit_bytes = _REPLY_BYTES if request.reply_limit_bytes is None else request.reply_limit_bytes
        answer = await self._exchange(
            "POST", encoded.path, left_s, headers, encoded.pieces, encoded.size_bytes, limit_bytes, integrity
        )
        left_s = timeout_s - (perf_counter() - started)
        try:
            decoded = await off_loop(_decode_cost(answer), wire_format.decode, request, answer, timeout_s=left_s)
        except TimeoutError:
            raise CloudTimeoutError(f"the answer of {self._address} was not decoded in {timeout_s:.3g} s") from None
        return TailReply(
            values=decoded.values,
            compute_s=decoded.compute_s,
            server_s=decoded.server_s,
            sent_bytes=answer.sent_bytes,
            received_bytes=answer.received_bytes,
            wall_s=answer.wall_s,
            tcp=answer.tcp,
            fresh=answer.fresh,
            beyond=decoded.beyond,
            fallback=decoded.fallback,
            arrival=decoded.arrival,
            stand_in=decoded.stand_in,
        )

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    async def _exchange(
        self,
        method: str,
        path: str,
        timeout_s: float,
        headers: str = "",
        pieces: Sequence[memoryview] = (),
        body_bytes: int = 0,
        limit_bytes: int = _LISTING_BYTES,
        integrity: Integrity | None = None,
    ) -> Answer:
        """Exchange a request for its answer. Raises CloudError for all but a success."""
        if self._pool is None:
            raise CloudUnreachableError("the transport is not open")
        http_header = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._access_headers()}{headers}\r\n"
        try:
            answer = await self._pool.exchange(
                http_header.encode("latin-1"), pieces, body_bytes, timeout_s, limit_bytes, integrity
            )
        except NoConnectionInTimeError:
            raise CloudTimeoutError(f"no connection to {self._address} in {self._connect_timeout_s:g} s") from None
        except TimeoutError as error:
            reused = isinstance(error, ReusedConnectionTimeoutError)
            raise CloudTimeoutError(f"no answer from {self._address} in {timeout_s:.3g} s", reused=reused) from None
        except ConnectionLostError as error:
            raise CloudUnreachableError(f"connection to {self._address} broke: {_one_line(error)}") from None
        except InvalidResponseError as error:
            raise CloudRefusedError(f"{self._address} sent invalid HTTP: {_one_line(error)}") from None
        except OSError as error:
            raise CloudUnreachableError(f"cannot reach {self._address}: {_one_line(error)}") from None
        finally:
            if (
                integrity is not None and integrity.reported is not None
            ):  # also where it was an older cloud's turn behind the same address
                self._checks_requests = integrity.reported
        if answer.status != HTTPStatus.OK:
            url = f"{self._scheme}://{self._address}"
            reason = redirect_reason(answer, url, f"{self._prefix}{path}") or _refusal(answer)
            raise CloudRefusedError(
                reason, http_status=answer.status, retry_after_s=_retry_after_s(answer.header(b"retry-after") or "")
            )
        if (encoding := answer.header(b"content-encoding")) is not None:
            raise CloudRefusedError(f"the reply is {encoding}-encoded, which was not requested")
        return answer

    def _access_headers(self) -> str:
        token = self._token.current()
        return self._host_header if token is None else f"{self._host_header}Authorization: Bearer {token}\r\n"


class ListingTransport(HttpTransport):
    """Sends requests to a midcut cloud, which also lists its models."""

    _listed = False

    async def listing(self) -> Mapping[str, HeldModel]:
        try:
            return await self._list_models()
        except CloudVersionError:
            raise
        except CloudRefusedError as error:
            if error.http_status in _TELLS_ITS_NAME and (reason := await self._name_stranger()):
                raise CloudStrangerError(reason, http_status=error.http_status) from None
            # What is no HTTP, from a server that never listed models: an answer that was damaged is another matter.
            if error.http_status in _NO_SUCH_LIST or (not error.http_status and not self._listed):
                raise CloudStrangerError(str(error), http_status=error.http_status) from None
            raise

    async def _name_stranger(self) -> str:
        """Which other vendor's server this is, `""` if it does not tell."""
        try:
            answer = await self._exchange("GET", oip.SERVER_PATH, self._timeout_s)
        except CloudError:
            return ""
        return stranger_reason(b"".join(answer.chunks), self._address)

    async def _list_models(self) -> Mapping[str, HeldModel]:
        own_version = f"{VERSION_HEADER}: {VERSION}\r\n"
        answer = await self._exchange("GET", wire.MODELS_PATH, self._timeout_s, own_version)
        self._checks_requests = answer.header(CHECKSUM) == oip.CHECKSUM
        body = b"".join(answer.chunks)
        try:
            check_version(wire.read_wire_versions(body), address=self._address)
            models = wire.read_models(body)
        except VersionError as error:
            raise CloudVersionError(str(error)) from None
        except MalformedError as error:
            where = self._address + self._prefix + wire.MODELS_PATH
            raise CloudRefusedError(f"{where} is not the list of models of a midcut cloud: {error}") from None

        self._listed = True
        return models

    async def profile(self, model: str, tier: int = 0) -> bytes:
        path = wire.PROFILE_PATH.format(model=quote(model, safe="")) + (f"?tier={tier}" if tier else "")
        return b"".join((await self._exchange("GET", path, _PROFILE_TIMEOUT_S)).chunks)


def _id_header(request_id: str) -> str:
    """The header X-Request-Id, by which proxies log a request; empty where the id is not valid in a header."""
    is_valid = request_id.isascii() and request_id.isprintable() and " " not in request_id
    return f"{wire.ID_HEADER}: {request_id}\r\n" if is_valid and request_id else ""


def _decode_cost(answer: Answer) -> int:
    """Work of decoding an answer: numbers as text take longer than their bytes. A small one counts as text."""
    size = answer.received_bytes
    return size if size > SMALL_BYTES and answer.header(HEADER_LENGTH) is not None else size * TEXT_WEIGHT


def _payload_bytes(request: TailRequest) -> int:
    """Bytes that encoding goes through; tensors that are sent without a codec are not touched."""
    return 0 if request.codec == RAW else values_bytes(request.values)


def _refusal(answer: Answer) -> str:
    return f"the cloud says {answer.status}: {wire.read_error(b''.join(answer.chunks))}"


def _retry_after_s(header: str) -> float | None:
    """The seconds of a Retry-After header; its other form, a date, is ignored."""
    return float(header) if header.isascii() and header.isdigit() and len(header) < 7 else None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
