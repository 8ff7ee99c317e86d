"""Round trip as the time a TCP connect takes."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

from midcut.errors import TelemetryError
from midcut.wire.tcp import tcp_info
from midcut_telemetry.cloud import Endpoint, connect_first
from midcut_telemetry.limits import check_timeout

if TYPE_CHECKING:
    from collections.abc import Mapping


class TcpPing:
    """Connects `samples` times; a refused connection is an answer too. The name is resolved before the clock starts.

    The kernel's round trip of the connect is used where there is one: this process may wait for a core. The hub starts
    a read while no request is under way; the smallest sample counts, since a request may begin meanwhile. A proxy
    between edge and cloud accepts connections itself, so the result is then the round trip to the proxy.
    """

    quiet = True

    def __init__(self, url: str, samples: int, timeout_s: float, interval_s: float) -> None:
        self.interval_s = interval_s
        self._endpoint = Endpoint.parse(url)
        self._samples = max(samples, 1)
        self._timeout_s = check_timeout("tcp_ping", timeout_s)
        self._answered: tuple[int, Any] | None = None

    def read(self) -> Mapping[str, float]:
        family, address = self._choose_address()
        try:
            seconds = [self._connect_s(family, address) for _ in range(self._samples)]
        except TelemetryError:
            self._answered = None  # another address may answer now
            raise
        return {"ping_ms": min(seconds) * 1e3}

    def close(self) -> None:
        """Nothing to close."""

    def _choose_address(self) -> tuple[int, Any]:
        """The address that is timed: of several, the first that answered, as requests use it."""
        try:
            found = socket.getaddrinfo(self._endpoint.host, self._endpoint.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise TelemetryError(f"cannot resolve {self._endpoint.host}: {error.strerror or error}") from None
        addresses = [(int(family), address) for family, *_, address in found]
        if self._answered not in addresses:
            self._answered = None
        if len(addresses) > 1 and self._answered is None:
            with contextlib.suppress(OSError), connect_first(self._endpoint, self._timeout_s) as sock:
                self._answered = int(sock.family), sock.getpeername()
        # IPv4 first: a cloud that listens on one of the two mostly listens on IPv4.
        return self._answered or min(addresses, key=lambda entry: entry[0] != socket.AF_INET)

    def _connect_s(self, family: int, address: Any) -> float:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(self._timeout_s)
            start = time.perf_counter()
            try:
                sock.connect(address)
                if (info := tcp_info(sock)) is not None and info.rtt_s > 0.0:
                    return info.rtt_s
            except ConnectionRefusedError:
                pass  # the refusal is a round trip, too
            except TimeoutError:
                raise TelemetryError(f"no TCP connection to {self._endpoint} in {self._timeout_s:g} s") from None
            except OSError as error:
                raise TelemetryError(f"no TCP connection to {self._endpoint}: {error.strerror or error}") from None
            return time.perf_counter() - start
