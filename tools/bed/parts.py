"""The parts of a bed, for the modules that set or measure them but do not make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bed.clocks import Clock
    from bed.hosts import Host
    from bed.links import Link


class BedParts:
    """Two hosts, the link between them and the edge's clock.

    Attributes:
        edge, cloud: the hosts.
        link: their link, unshaped until it is set.
        clock: the edge's clock, at full speed until it is set.
    """

    edge: Host
    cloud: Host
    link: Link
    clock: Clock
