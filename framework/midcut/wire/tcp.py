"""TCP beside bandwidth and ping: what the kernel knows of a connection, and what its slow start costs."""

from __future__ import annotations

import math
import os
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from midcut.terms import SlowStart
from midcut.types import TcpInfo

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

SEGMENT_BYTES: Final = 1448
"""Payload of a full segment on Ethernet, with time stamps."""
INITIAL_WINDOW: Final = 10
"""Segments that a connection may send before the first acknowledgement (RFC 6928)."""
INITIAL_BYTES: Final = INITIAL_WINDOW * SEGMENT_BYTES

_SETTINGS: Final = Path("/proc/sys/net/ipv4")
# `struct tcp_info` of <linux/tcp.h> up to tcpi_delivery_rate: eight bytes, the last one's lowest bit is app_limited;
# then rtt, total_retrans and min_rtt (u32, microseconds, segments), delivery_rate (u64, bytes a second).
_FIELDS: Final = struct.Struct("=7xB60xI28xI44xI8xQ")
_UNKNOWN: Final = 0xFFFFFFFF
_APP_LIMITED: Final = 1


def tcp_info(sock: socket.socket | None) -> TcpInfo | None:
    """Ask the kernel; None where it is not Linux's, is older than 4.9, or the socket is gone."""
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
    """A socket of one's own for the same connection, to ask the kernel by; close it. None where it would be of no use.

    uvloop's makes a new one, and closes it again, each time that it is asked.
    """
    if sock is None or sys.platform != "linux":
        return None
    try:
        return socket.socket(fileno=os.dup(sock.fileno()))
    except OSError:  # closed already, or this process may open no more files
        return None


def starts_slowly(setting: SlowStart) -> bool:
    """Whether a connection that was idle starts slowly again: `auto` asks this host.

    Linux does unless `net.ipv4.tcp_slow_start_after_idle` is 0; BBR never does. Elsewhere it is assumed
    (RFC 5681, section 4.1).
    """
    if setting is not SlowStart.auto:
        return setting is SlowStart.always
    return _setting("tcp_slow_start_after_idle") != "0" and not _setting("tcp_congestion_control").startswith("bbr")


def slow_start_s(size_bytes: float, bandwidth_kbps: float, rtt_s: float, first_bytes: float) -> float:
    """Seconds that a body waits for acknowledgements while the window is less than the link holds.

    The window doubles every round trip. A round that sends less than a round trip's worth of the link, with more to
    come, leaves the link idle for the rest of the round trip: sum of rtt - window * 8 / bandwidth.
    """
    left_bytes, window, waits_s = size_bytes, first_bytes, 0.0
    while left_bytes > window and (wait_s := rtt_s - window * 8 / (bandwidth_kbps * 1e3)) > 0.0:
        left_bytes -= window
        window *= 2
        waits_s += wait_s
    return waits_s


def window_bytes(pause_s: float, bandwidth_kbps: float, rtt_s: float, initial_bytes: float = INITIAL_BYTES) -> float:
    """What a connection that once filled the link sends before the first acknowledgement, after a pause.

    Linux halves the window for each time that it would have waited for a lost acknowledgement (200 ms and a round
    trip, more where our own queue made the round trip longer), down to the initial one. `math.inf` where there was no
    such pause; a pause of `math.inf` is a new connection.
    """
    halvings = min(pause_s / (_LOST_S + rtt_s), 60.0)
    if halvings < 1.0:
        return math.inf
    return max(initial_bytes, bandwidth_kbps * 1e3 / 8 * rtt_s / 2.0 ** int(halvings))


def rate_kbps(size_bytes: float, transfer_s: float, rtt_s: float, pause_s: float = 0.0) -> float:
    """The bandwidth at which a body takes so long, the round trip taken off and slow start after a pause included.

    Where no bandwidth is so slow to start, the connection was not: then as if it had not started slowly.
    """
    plain = size_bytes * 8 / transfer_s / 1e3

    def too_long(kbps: float) -> bool:
        waits_s = slow_start_s(size_bytes, kbps, rtt_s, window_bytes(pause_s, kbps, rtt_s))
        return size_bytes * 8 / kbps / 1e3 + waits_s > transfer_s

    low, high = plain, plain * _MOST
    if not too_long(low) or too_long(high):
        return plain
    while high > low * 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if too_long(middle) else (low, middle)
    return high


def better_kbps(kbps: float, tcp: TcpInfo | None) -> float:
    """The kernel's rate of delivery in place of what HTTP made of it, where it is higher and not limited by us.

    One of more than twice is not the whole way's: a proxy, a tunnel's end or a side car took the body.
    """
    if tcp is None or tcp.app_limited or tcp.delivery_kbps > _BEYOND * kbps:
        return kbps
    return max(kbps, tcp.delivery_kbps)


_LOST_S: Final = 0.3
_BEYOND: Final = 2.0
# Slow start hides no more than this of a bandwidth that can still be told.
_MOST: Final = 16.0


def _setting(name: str) -> str:
    """One of the kernel's, `""` where there is none."""
    try:
        return (_SETTINGS / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
