"""The cloud's address and a keep-alive connection to it, for the sources that measure the way to the cloud."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohappyeyeballs

from midcut.errors import ConfigError, TelemetryError
from midcut.wire.addresses import address_url
from midcut.wire.watched_files import ClientTls, Token

_MAX_REPLY_BYTES = 65536
# A name's next address is tried when the one before has not answered for this long (RFC 8305, section 5).
_NEXT_ADDRESS_S: Final = 0.25


@dataclass(frozen=True)
class Endpoint:
    """The cloud's address. `base` is the path before the API's own paths, without a slash at the end."""

    scheme: str
    host: str
    port: int
    base: str

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Parse a URL.

        Raises:
            ConfigError: it is not `http(s)://host[:port][/base]`.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        except (ValueError, KeyError):
            parts, port = urlsplit(""), 0
        if not parts.hostname:
            raise ConfigError(f"the cloud's url must be http://host:port, got {url!r}")
        return cls(scheme=parts.scheme, host=parts.hostname, port=port, base=parts.path.rstrip("/"))

    def __str__(self) -> str:
        return f"{address_url(self.scheme, self.host, self.port)}{self.base}"


class StatusError(TelemetryError):
    """The other side answered with a status other than 200."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class KeepAliveConnection:
    """One HTTP/1.1 connection that is opened when needed and then stays open. Not for several threads at once.

    The credentials are as in `midcut_telemetry.config.CloudAccess`.

    Attributes:
        opened: how often the connection was opened.

    Raises:
        ConfigError: a token or a certificate cannot be read.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout_s: float,
        token_env: str | None = None,
        token_file: str | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._token = Token(token_env, token_file)
        self._tls = ClientTls(tls_ca, tls_cert, tls_key) if endpoint.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self.opened = 0

    def exchange(self, method: str, path: str, body: bytes | None = None) -> tuple[float, bytes]:
        """Send one request and read the whole answer.

        Returns:
            the seconds from the first byte written to the last byte read (connecting excluded), and the body.

        Raises:
            StatusError: a status other than 200.
            TelemetryError: no connection, or no answer in time.
        """
        reused = self._connection is not None
        try:
            try:
                return self._exchange_once(method, path, body)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not reused:
                    raise
                return self._exchange_once(method, path, body)  # the server had closed the idle connection
        except (OSError, http.client.HTTPException) as error:
            reason = f"no answer in {self._timeout_s:g} s" if isinstance(error, TimeoutError) else error
            raise TelemetryError(f"{method} {self._endpoint}{path}: {reason or type(error).__name__}") from None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange_once(self, method: str, path: str, body: bytes | None) -> tuple[float, bytes]:
        try:
            connection = self._open_connection()
            headers = self._access_headers() | (
                {"Content-Type": "application/octet-stream"} if body is not None else {}
            )
            start = time.perf_counter()
            connection.request(method, self._endpoint.base + path, body=body, headers=headers)
            response = connection.getresponse()
            answer = response.read(_MAX_REPLY_BYTES)
            seconds = time.perf_counter() - start
            # An answer over the limit leaves unread bytes behind. After `Connection: close`, http.client would open a
            # new socket by itself within the measured time.
            if not response.isclosed() or connection.sock is None:
                self.close()
        except BaseException:
            self.close()
            raise
        if response.status != http.client.OK:
            raise StatusError(
                f"{method} {self._endpoint}{path}: status {response.status}; is this a midcut cloud?", response.status
            )
        return seconds, answer

    def _access_headers(self) -> dict[str, str]:
        token = self._token.current()
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def _open_connection(self) -> http.client.HTTPConnection:
        if self._connection is None:
            host, port = self._endpoint.host, self._endpoint.port
            self._connection = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
            self._connection.sock = self._connect()
            self.opened += 1
        return self._connection

    def _connect(self) -> socket.socket:
        sock = connect_first(self._endpoint, self._timeout_s)
        if self._tls is None:
            return sock
        try:
            return self._tls.current().wrap_socket(sock, server_hostname=self._endpoint.host)
        except BaseException:
            sock.close()
            raise


def connect_first(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    """Connect to the first of an endpoint's addresses that answers, so that a silent one does not hide the others.

    Returns:
        the connected socket, which blocks for `timeout_s` at most.

    Raises:
        OSError: none answers.
    """

    async def connect() -> socket.socket:
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        async with asyncio.timeout(timeout_s):
            return await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1, loop=loop
            )

    sock = asyncio.run(connect())
    sock.settimeout(timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
