"""A test bed: two hosts on one machine, with a link and a clock that can be set (root; Linux).

with Bed(BedOptions()) as bed:
    cloud = bed.cloud.popen(["midcut", "cloud", ...])
    bed.link.set(bandwidth_kbps=10_000, ping_ms=20)
    bed.clock.set(600)
"""

from bed.calibration import Plan, Row
from bed.errors import BedError, BedUnavailable
from bed.hosts import Host
from bed.options import BedOptions
from bed.testbed import Bed

__all__ = ["Bed", "BedError", "BedOptions", "BedUnavailable", "Host", "Plan", "Row"]
