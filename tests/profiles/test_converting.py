"""A profile of PyTorch as an estimate for a faster executor."""

from __future__ import annotations

import numpy as np
import pytest

from midcut.profiles import Role, find_profile, speed_key
from midcut.profiles.converting import _InTorch, converted, time_ratio
from midcut.testing import TorchExecutor
from midcut.testing.networks import small_network
from midcut_executors.native import Native


def test_all_seconds_are_scaled_and_the_executor_is_named():
    profile = find_profile("pi4", Role.edge, "mnist")
    scaled = converted(profile, "other 1.0", 0.25)
    assert scaled.executor == "other 1.0"
    assert "scaled to other 1.0" in scaled.origin
    for before, after in zip(profile.runs, scaled.runs, strict=True):
        assert after.clock_mhz == before.clock_mhz
        assert np.allclose(after.node_s, np.asarray(before.node_s) * 0.25)
        assert after.whole_s == pytest.approx(before.whole_s * 0.25)


def test_the_ratio_is_that_of_the_whole_model_and_is_measured_once(tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("MIDCUT_CACHE", str(tmp_path))
    runs = []

    class Instant(TorchExecutor):
        def run(self, segment):
            runs.append(1)
            return segment(), 1e-9

    ratio = time_ratio(small_network(), [torch.rand(1, 3, 12, 12)], Instant())
    assert 0.0 < ratio < 0.01
    runs.clear()
    assert time_ratio(small_network(), [torch.rand(1, 3, 12, 12)], Instant()) == ratio
    assert not runs


@pytest.mark.parametrize("threads", [1, 2])
def test_pytorch_is_compared_under_the_key_that_executor_native_has(threads):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        key = speed_key(_InTorch())
        assert key == speed_key(Native()) == f"native torch {torch.__version__}, threads {threads}"
    finally:
        torch.set_num_threads(before)
