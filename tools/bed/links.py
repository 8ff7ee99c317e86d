"""The link between the hosts, common to all kinds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from bed.errors import BedError
from bed.setting import Setting

if TYPE_CHECKING:
    from collections.abc import Mapping

EDGE_ADDRESS, CLOUD_ADDRESS = "10.77.0.1", "10.77.0.2"
FRAME_BYTES = 1514  # a full packet on the wire: Ethernet, IP and TCP headers and its segment
SEGMENT_BYTES = 1448  # what a full packet carries of a TCP stream
PAYLOAD_SHARE = SEGMENT_BYTES / FRAME_BYTES  # of the line's rate that is TCP payload; the rest is headers
DEVICE = "mcb0"
LEAST_KBPS = 8.0


@dataclass(frozen=True)
class Shape:
    """The setting of a link.

    Attributes:
        bandwidth_kbps: line rate each way, counting Ethernet, IP and TCP headers; None is unlimited.
        ping_ms: round trip of an empty link, half of it each way.
        loss: share of packets dropped, each way.
    """

    bandwidth_kbps: float | None = None
    ping_ms: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        if self.bandwidth_kbps is not None and not LEAST_KBPS <= self.bandwidth_kbps < math.inf:
            raise BedError(f"bandwidth_kbps must be 8 or more, got {self.bandwidth_kbps:g}")
        if not 0.0 <= self.ping_ms <= 60_000.0:
            raise BedError(f"ping_ms must be from 0 to 60000, got {self.ping_ms:g}")
        if not 0.0 <= self.loss < 1.0:
            raise BedError(f"loss must be a share from 0 to under 1, got {self.loss:g}")


class Link(ABC):
    """A link whose shape changes at run time.

    Attributes:
        kind: netem, tun or tbf.
        setting: holds the current shape.
        overhead_ms: round trip without any delay set, from waking up processes; delays are shortened by it.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.setting = Setting()
        self.overhead_ms = 0.0

    @property
    def shape(self) -> Shape:
        """The shape it is set to."""
        return _shape(self.setting.read())

    def set(
        self, *, bandwidth_kbps: float | None = None, ping_ms: float | None = None, loss: float | None = None
    ) -> None:
        """Change the link, both ways; what is not given stays as it is.

        Raises:
            BedError: the value is impossible, for any link or for this kind.
        """
        given = {"bandwidth_kbps": bandwidth_kbps, "ping_ms": ping_ms, "loss": loss}
        wanted = {name: value for name, value in given.items() if value is not None}
        if not wanted:
            return
        with self.setting.changing() as now:
            shape = replace(_shape(now), **wanted)
            self.apply(shape)
            now["shape"] = asdict(shape)

    def restore(self, shape: Shape) -> None:
        """Set the whole shape again as it was read before."""
        with self.setting.changing() as now:
            self.apply(shape)
            now["shape"] = asdict(shape)

    @abstractmethod
    def apply(self, shape: Shape) -> None:
        """Put a shape into force."""

    @abstractmethod
    def close(self) -> None:
        """Remove the link."""

    @property
    def process(self) -> int | None:
        """The number of the process that makes the link; None where the kernel does."""
        return None


def _shape(setting: Mapping[str, Any]) -> Shape:
    return Shape(**setting.get("shape", {}))


def wire_s(body_bytes: float, bandwidth_kbps: float) -> float:
    """Seconds that a long body takes on the wire: its packets with all headers over the line rate."""
    return body_bytes * 8 * FRAME_BYTES / SEGMENT_BYTES / (bandwidth_kbps * 1000)
