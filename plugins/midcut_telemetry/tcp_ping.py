"""Round trip as the time a TCP connect takes."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

from midcut.errors import TelemetryError
from midcut.wire.tcp import tcp_info
from midcut_telemetry.cloud import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping


class TcpPing:
    """Connects `samples` times; a refused connection is an answer too. The name is looked up before the clock runs.

    Where the kernel tells the round trip of the connect, that counts: our own threads may wait for a core. The hub
    reads it between requests; the smallest sample counts, since the next request may begin meanwhile. A proxy between
    edge and cloud answers for itself: then it is the proxy's round trip.
    """

    quiet = True

    def __init__(self, url: str, samples: int, timeout_s: float, interval_s: float) -> None:
        self.interval_s = interval_s
        self._endpoint = Endpoint.parse(url)
        self._samples = max(samples, 1)
        self._timeout_s = timeout_s

    def read(self) -> Mapping[str, float]:
        family, address = self._resolve()
        seconds = [self._connect_s(family, address) for _ in range(self._samples)]
        return {"ping_ms": min(seconds) * 1e3}

    def close(self) -> None:
        """Nothing is held open."""

    def _resolve(self) -> tuple[socket.AddressFamily, Any]:
        try:
            found = socket.getaddrinfo(self._endpoint.host, self._endpoint.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise TelemetryError(f"cannot look up {self._endpoint.host}: {error.strerror or error}") from None
        # IPv4 first: where a host has both, a cloud that listens on one of them mostly listens there.
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        return found[0][0], found[0][4]

    def _connect_s(self, family: socket.AddressFamily, address: Any) -> float:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(self._timeout_s)
            start = time.perf_counter()
            try:
                sock.connect(address)
                if (info := tcp_info(sock)) is not None and info.rtt_s > 0.0:
                    return info.rtt_s
            except ConnectionRefusedError:
                pass  # the refusal made the trip there and back
            except TimeoutError:
                raise TelemetryError(f"no TCP connection to {self._endpoint} in {self._timeout_s:g} s") from None
            except OSError as error:
                raise TelemetryError(f"no TCP connection to {self._endpoint}: {error.strerror or error}") from None
            return time.perf_counter() - start
