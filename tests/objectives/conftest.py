from __future__ import annotations

import numpy as np
import pytest

from midcut.types import Forecast, Placements


@pytest.fixture
def chain():
    """Three layers: 40, 60, 100 ms at the edge, 4, 6, 10 ms in the cloud; 600, 100, 20 kB sent; 8 Mbit/s, no ping."""
    index = np.arange(4, dtype=np.intp)
    sent = np.array([600e3, 100e3, 20e3, 0.0])
    placed = Placements(
        model="chain", cut=index, layer=index, payload_bytes=sent, request_bytes=sent, reply_bytes=np.zeros(4),
        on_edge=index == 3, nodes=3, layers=3,
    )  # fmt: skip
    edge_s, cloud_s = np.array([0.0, 0.04, 0.1, 0.2]), np.array([0.02, 0.016, 0.01, 0.0])
    return Forecast(placed, edge_s, sent / 1e6, cloud_s, np.zeros(4))
