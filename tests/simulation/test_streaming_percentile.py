"""The percentile of a stream of numbers equals that of numpy over all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midcut.simulation.streaming_percentile import StreamingPercentile


@given(
    st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), min_size=1, max_size=20),
    st.sampled_from([0.0, 0.5, 0.95, 0.999, 1.0]),
)
def test_is_numpys_percentile(pieces, share):
    values = np.array([value for piece in pieces for value in piece])
    stream = StreamingPercentile(len(values), share)
    for piece in pieces:
        stream.add(np.array([piece, [-value for value in piece]]))
    expected = [np.percentile(values, 100 * share), np.percentile(-values, 100 * share)]
    assert stream.percentile() == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_it_keeps_a_twentieth():
    stream = StreamingPercentile(100_000, 0.95)
    rng = np.random.default_rng(0)
    for _ in range(100):
        stream.add(rng.random((1, 1000)))
        assert sum(array.size for array in stream._arrays) <= 2 * 5_001 + 2_000
