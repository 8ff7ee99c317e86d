"""Profiles of an executor that merges nodes, against an executor whose seconds are known for every segment."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from midcut.errors import ExecutorError
from midcut.profiles.measuring import finish
from midcut.profiles.profile import Run
from midcut.profiles.segments import measuring_segments
from midcut.terms import Role
from midcut.testing.networks import small_network

NETWORK = small_network()
LAST = NETWORK.table.last
TORCH_S = tuple(float(node) for node in range(1, LAST + 1))


class Known:
    """Takes a third of PyTorch's seconds, and 0.1 s for every segment."""

    identity = "known"
    fused = True

    def __init__(self, refused=()):
        self.refused = refused

    def changed(self, values):
        return values

    def prepare(self, network, start, stop):
        if (start, stop) in self.refused:
            raise ExecutorError("no such segment")

        def run(values):
            assert len(values) == len(network.table.cuts[start].values)
            return self.changed(network.run(start, stop, values)), 0.1 + sum(TORCH_S[start:stop]) / 3

        return SimpleNamespace(run=run)


def measured(role, executor):
    run = Run(None, TORCH_S, tuple(0.0 for _ in TORCH_S), sum(TORCH_S), 0.0, 3)
    inputs = NETWORK.traceable().example
    return finish(measuring_segments(NETWORK, inputs, role, run, executor, 3), lambda: None)


@pytest.mark.parametrize("role", [Role.edge, Role.cloud])
def test_seconds_up_to_and_from_every_cut_are_those_of_the_executor(role):
    found = measured(role, Known())
    assert found.whole_s == pytest.approx(0.1 + sum(TORCH_S) / 3)
    assert sum(found.node_s) == pytest.approx(found.whole_s)
    for cut in range(2, LAST - 1):
        nodes = slice(0, cut) if role is Role.edge else slice(cut, LAST)
        assert sum(found.node_s[nodes]) == pytest.approx(0.1 + sum(TORCH_S[nodes]) / 3, abs=0.1)


def test_a_cut_that_the_executor_refuses_is_interpolated():
    refused = [(0, cut) for cut in range(1, LAST, 2) if cut != LAST]
    found = measured(Role.edge, Known(refused))
    assert np.all(np.asarray(found.node_s) >= 0.0)
    assert sum(found.node_s) == pytest.approx(0.1 + sum(TORCH_S) / 3)


def test_an_executor_that_refuses_the_whole_model_is_an_error():
    with pytest.raises(ExecutorError):
        measured(Role.edge, Known([(0, LAST)]))


@pytest.mark.parametrize("role", [Role.edge, Role.cloud])
def test_a_profile_states_what_the_executor_changes_of_the_output_at_each_measured_cut(role):
    class Off(Known):
        def changed(self, values):
            return tuple(value * 1.25 if value.is_floating_point() else value for value in values)

    exact, off = measured(role, Known()).cut_errors, measured(role, Off()).cut_errors
    whole = LAST if role is Role.edge else 0
    assert set(exact.values()) == {0.0}
    assert exact.keys() == off.keys()
    assert off[whole] == pytest.approx(0.25, rel=1e-5)


def test_without_pytorch_a_profile_states_no_difference_from_it_and_prepares_no_tails():
    class WithoutTorch:
        table, has_torch = NETWORK.table, False

        def run(self, start, stop, values):
            prepared.append((start, stop))
            return NETWORK.run(start, stop, values)

    prepared = []
    run = Run(None, TORCH_S, tuple(0.0 for _ in TORCH_S), sum(TORCH_S), 0.0, 3)
    inputs = NETWORK.traceable().example
    found = finish(measuring_segments(WithoutTorch(), inputs, Role.edge, run, Known(), 3), lambda: None)
    assert found.cut_errors == {}
    assert all(start == 0 for start, _ in prepared)
