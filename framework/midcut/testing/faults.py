"""A TCP proxy that breaks connections on purpose, for tests of transports: the public names of `midcut.proxies`.

    python -m midcut.testing.faults --upstream 127.0.0.1:8700 --toxic latency:latency_ms=50

Needs no pytest.
"""

import sys

from midcut.proxies.faults import FaultProxy, Stream, main, parse_toxic
from midcut.proxies.toxics import Bandwidth, Garbage, Latency, LimitData, ResetPeer, Slicer, SlowClose, Timeout, Toxic

__all__ = [
    "Bandwidth",
    "FaultProxy",
    "Garbage",
    "Latency",
    "LimitData",
    "ResetPeer",
    "Slicer",
    "SlowClose",
    "Stream",
    "Timeout",
    "Toxic",
    "parse_toxic",
]

if __name__ == "__main__":
    sys.exit(main())
