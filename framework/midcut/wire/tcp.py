"""TCP figures: what the kernel reports of a connection, and how long slow start delays a body."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if sys.platform == "linux":
    import fcntl
    import termios

from midcut.terms import SlowStart
from midcut.types import TcpInfo

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

    from midcut.types import BodyArrival

SEGMENT_BYTES: Final = 1448
"""Payload of a full segment on Ethernet, with time stamps."""
INITIAL_WINDOW: Final = 10
"""Segments that a connection may send before the first acknowledgement (RFC 6928)."""
INITIAL_BYTES: Final = INITIAL_WINDOW * SEGMENT_BYTES

_SETTINGS: Final = Path("/proc/sys/net/ipv4")
# `struct tcp_info` of <linux/tcp.h> up to tcpi_delivery_rate: eight bytes, the last one's lowest bit is app_limited;
# then rtt, total_retrans and min_rtt (u32, microseconds, segments), delivery_rate (u64, bytes a second).
_FIELDS: Final = struct.Struct("=7xB60xI28xI44xI8xQ")
_ACKNOWLEDGED: Final = struct.Struct("=120xQ")  # its tcpi_bytes_acked
# The longest TCP_USER_TIMEOUT that the kernel takes: 24 days.
_LONGEST_MS: Final = 2**31 - 1
_UNKNOWN: Final = 0xFFFFFFFF
_APP_LIMITED: Final = 1


def tcp_info(sock: socket.socket | None) -> TcpInfo | None:
    """The kernel's figures of a connection; None for a closed socket, and on systems other than Linux 4.9 or later."""
    if sock is None or sys.platform != "linux":
        return None
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _FIELDS.size)
    except OSError:
        return None
    if len(raw) < _FIELDS.size:
        return None
    flags, rtt_us, retransmits, min_rtt_us, delivery = _FIELDS.unpack(raw)
    if min_rtt_us == _UNKNOWN:
        return None
    return TcpInfo(
        min_rtt_s=min_rtt_us / 1e6,
        rtt_s=rtt_us / 1e6,
        delivery_kbps=delivery * 8 / 1e3,
        app_limited=bool(flags & _APP_LIMITED),
        retransmits=retransmits,
    )


def own_socket(sock: TransportSocket | None) -> socket.socket | None:
    """A second socket of the same connection for `tcp_info`, to be closed by the caller; None where it gives nothing.

    uvloop's own socket object makes and closes a new socket for each call.
    """
    if sock is None or sys.platform != "linux":
        return None
    try:
        return socket.socket(fileno=os.dup(sock.fileno()))
    except OSError:  # the socket is closed, or this process has too many open files
        return None


def unacknowledged_bytes(sock: socket.socket | TransportSocket | None) -> int:
    """Bytes that the kernel holds because the other side has not acknowledged them; 0 where that is not known."""
    if sock is None or sys.platform != "linux":
        return 0
    try:
        answer = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)


def acknowledged_bytes(sock: socket.socket | TransportSocket) -> int | None:
    """Bytes that the other side has acknowledged since the connection began; None where that is not known."""
    if sys.platform != "linux":
        return None
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
    except OSError:
        return None
    return int(_ACKNOWLEDGED.unpack(raw)[0]) if len(raw) == _ACKNOWLEDGED.size else None


def notice_dead_peer(sock: socket.socket, timeout_s: float) -> None:
    """Have the kernel end a connection whose peer, or the way to it, is gone.

    An idle connection is tested after 15 s of silence, which also keeps firewalls from forgetting it; sent bytes that
    are not acknowledged within `timeout_s` end the connection.
    """
    timeout_ms = int(min(timeout_s * 1e3, _LONGEST_MS))
    options = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": timeout_ms}
    with contextlib.suppress(OSError):  # a socket that is closed already, or not TCP
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if (number := getattr(socket, name, None)) is not None:  # not on every system
                sock.setsockopt(socket.IPPROTO_TCP, number, value)


def starts_slowly(setting: SlowStart) -> bool:
    """Whether a connection does slow start again after it was idle; `auto` reads this host's settings.

    Linux does so unless `net.ipv4.tcp_slow_start_after_idle` is 0 or the congestion control is BBR. On other systems it
    is assumed (RFC 5681, section 4.1).
    """
    if setting is not SlowStart.auto:
        return setting is SlowStart.always
    return _sysctl("tcp_slow_start_after_idle") != "0" and not _sysctl("tcp_congestion_control").startswith("bbr")


def slow_start_s(size_bytes: float, bandwidth_kbps: float, rtt_s: float, first_bytes: float) -> float:
    """Seconds that a body waits for acknowledgements while the window is smaller than the bandwidth-delay product.

    The window doubles every round trip. While it is smaller, the link is idle for the rest of each round trip:
    the sum of rtt - window * 8 / bandwidth.
    """
    unsent_bytes, window, idle_s = size_bytes, first_bytes, 0.0
    while unsent_bytes > window and (wait_s := rtt_s - window * 8 / (bandwidth_kbps * 1e3)) > 0.0:
        unsent_bytes -= window
        window *= 2
        idle_s += wait_s
    return idle_s


def window_bytes(pause_s: float, bandwidth_kbps: float, rtt_s: float, initial_bytes: float = INITIAL_BYTES) -> float:
    """The congestion window after a pause, of a connection whose window had grown to fill the link.

    Linux halves the window for each retransmission timeout of the pause (200 ms and a round trip, more where our own
    queue made the round trip longer), down to the initial window. `math.inf` after a shorter pause; a pause of
    `math.inf` is a new connection.
    """
    halvings = min(pause_s / (_RETRANSMISSION_TIMEOUT_S + rtt_s), 60.0)
    if halvings < 1.0:
        return math.inf
    return max(initial_bytes, bandwidth_kbps * 1e3 / 8 * rtt_s / 2.0 ** int(halvings))


def rate_kbps(size_bytes: float, transfer_s: float, rtt_s: float, pause_s: float = 0.0) -> float:
    """The bandwidth at which a body takes `transfer_s` (round trip excluded), slow start after a pause included.

    Where no bandwidth explains the time with slow start, the rate is computed as if there had been none.
    """
    plain = size_bytes * 8 / transfer_s / 1e3

    def takes_longer(kbps: float) -> bool:
        idle_s = slow_start_s(size_bytes, kbps, rtt_s, window_bytes(pause_s, kbps, rtt_s))
        return size_bytes * 8 / kbps / 1e3 + idle_s > transfer_s

    low, high = plain, plain * _MOST_RATIO
    if not takes_longer(low) or takes_longer(high):
        return plain
    while high > low * 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if takes_longer(middle) else (low, middle)
    return high


def arrival_s(
    arrival: BodyArrival, size_bytes: float, transfer_s: float, rtt_s: float, pause_s: float = 0.0
) -> float | None:
    """Seconds that a body takes at the rate at which the server saw it arrive; None where that rate is not the link's.

    Args:
        arrival: what the server tells.
        size_bytes: of the body.
        transfer_s: what the client measured, round trip and server excluded; HTTP at both ends is part of it.
        rtt_s, pause_s: as `rate_kbps` takes them.
    """
    if arrival.seconds <= 0.0 or 3 * arrival.size_bytes < size_bytes:
        return None
    seconds = arrival.seconds * size_bytes / arrival.size_bytes
    # Store and forward: the body arrives in less than half of the time where the way before the proxy is slower.
    if seconds < max(transfer_s / 2, transfer_s - _STILL_S):
        return None
    # While the window is small the body arrives at the window's rate, not the link's: not below the link's half either.
    kbps = 2 * size_bytes * 8 / seconds / 1e3
    waits = slow_start_s(size_bytes, kbps, rtt_s, window_bytes(pause_s, kbps, rtt_s)) > 0.0
    return None if waits else seconds


# Whoever measures this much more than a body's arrival explains saw the link stand still before it or after it.
_STILL_S: Final = 0.02
_RETRANSMISSION_TIMEOUT_S: Final = 0.3
# A bandwidth higher than this many times the plain rate cannot be distinguished: slow start hides it.
_MOST_RATIO: Final = 16.0


def _sysctl(name: str) -> str:
    """A setting under net.ipv4, `""` where there is none."""
    try:
        return (_SETTINGS / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
