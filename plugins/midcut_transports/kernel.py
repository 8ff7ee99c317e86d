"""What Linux knows of a TCP connection: `struct tcp_info` of <linux/tcp.h>."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Final

from midcut.types import TcpInfo

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

# Up to tcpi_delivery_rate: eight bytes, the last one's lowest bit is app_limited; then rtt, total_retrans, min_rtt
# (u32, microseconds, segments) and delivery_rate (u64, bytes a second) where the kernel has them.
_FIELDS: Final = struct.Struct("=7xB60xI28xI44xI8xQ")
_UNKNOWN: Final = 0xFFFFFFFF
_APP_LIMITED: Final = 1


def tcp_info(sock: TransportSocket | socket.socket | None) -> TcpInfo | None:
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
