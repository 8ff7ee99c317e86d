"""Links made by the kernel: a veth pair with tc."""

from __future__ import annotations

import ctypes
import fcntl
import math
import socket
import struct
from typing import TYPE_CHECKING, ClassVar

from bed import namespaces
from bed.errors import BedError, BedUnavailable
from bed.links import CLOUD_ADDRESS, DEVICE, EDGE_ADDRESS, FRAME_BYTES, Link, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUE_BYTES = 200_000
BURST_BYTES = 3200  # more lets short bodies pass unshaped, less slows high rates down
_SIOCETHTOOL = 0x8946
_SET_OFFLOADS = {"tso": 0x1F, "gso": 0x24, "gro": 0x2C}  # linux/ethtool.h: ETHTOOL_S...


class ShapedLink(Link):
    """A veth pair with a qdisc at each end; offloads are disabled so that packets are shaped as they are sent."""

    def __init__(self, edge: str, cloud: str, *, exists: bool = False) -> None:
        super().__init__()
        self._namespaces = (edge, cloud)
        if exists:
            return
        ends = ("ip", "link", "add", DEVICE, "netns", edge, "type", "veth", "peer", "name", DEVICE, "netns", cloud)
        namespaces.run_program(*ends)
        for name, address in ((edge, EDGE_ADDRESS), (cloud, CLOUD_ADDRESS)):
            namespaces.run_program("ip", "-n", name, "addr", "add", f"{address}/24", "dev", DEVICE)
            namespaces.run_program("ip", "-n", name, "link", "set", DEVICE, "up")
            namespaces.inside(name, _disable_offloads)

    def apply(self, shape: Shape) -> None:
        for name in self._namespaces:
            namespaces.run_program("tc", "-n", name, "qdisc", "replace", "dev", DEVICE, "root", *self.qdisc(shape))

    def remove_shaping(self) -> None:
        """Remove the qdiscs."""
        for name in self._namespaces:
            namespaces.run_program("tc", "-n", name, "qdisc", "del", "dev", DEVICE, "root")

    def qdisc(self, shape: Shape) -> Sequence[str]:
        """The qdisc and its options, as `tc` takes them."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to do: the pair is removed with the namespaces."""


class NetemLink(ShapedLink):
    """Rate, delay and loss by netem."""

    kind: ClassVar[str] = "netem"

    def qdisc(self, shape: Shape) -> Sequence[str]:
        rate_bps = 0.0 if shape.bandwidth_kbps is None else shape.bandwidth_kbps * 1000
        queue_bytes = QUEUE_BYTES + rate_bps * shape.ping_ms / 8000  # netem's limit counts delayed packets too
        packets = math.ceil(queue_bytes / FRAME_BYTES) if rate_bps else 100_000
        arguments = ["netem", "limit", str(packets), "delay", f"{round(shape.ping_ms * 500)}us"]
        arguments += ["loss", f"{shape.loss:.6%}"] if shape.loss else []
        return [*arguments, "rate", f"{round(rate_bps)}bit"] if rate_bps else arguments


class TbfLink(ShapedLink):
    """Rate only, by a token bucket."""

    kind: ClassVar[str] = "tbf"

    def apply(self, shape: Shape) -> None:
        if shape.ping_ms or shape.loss:
            raise BedError("link=tbf shapes the rate only; delay and loss need link=netem or link=tun")
        if shape.bandwidth_kbps is not None:
            super().apply(shape)
        elif self.shape.bandwidth_kbps is not None:
            self.remove_shaping()

    def qdisc(self, shape: Shape) -> Sequence[str]:
        rate_bps = round((shape.bandwidth_kbps or 0.0) * 1000)
        return ["tbf", "rate", f"{rate_bps}bit", "burst", str(BURST_BYTES), "limit", str(QUEUE_BYTES)]


def require_netem(scratch: str) -> None:
    """Try netem on the loopback of a namespace.

    Raises:
        BedUnavailable: the kernel does not have it, or `tc` is missing.
    """
    try:
        namespaces.run_program("tc", "-n", scratch, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
        namespaces.run_program("tc", "-n", scratch, "qdisc", "del", "dev", "lo", "root")
    except BedError as error:
        raise BedUnavailable(f"the kernel has no netem ({error})") from None


def _disable_offloads() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for name, number in _SET_OFFLOADS.items():
            value = ctypes.create_string_buffer(struct.pack("II", number, 0))
            try:
                request = struct.pack("16sP16x", DEVICE.encode(), ctypes.addressof(value))
                fcntl.ioctl(control, _SIOCETHTOOL, request)
            except OSError as error:
                raise BedError(f"{DEVICE}: {name} cannot be turned off: {error.strerror}") from None
