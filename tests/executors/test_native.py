from __future__ import annotations

import threading
import time

import torch

from midcut.testing import ExecutorSuite
from midcut_executors.hooks import midcut_executors
from midcut_executors.native import Native


class TestNativeContract(ExecutorSuite):
    def make(self):
        return Native()


def test_it_runs_on_the_calling_thread_and_hands_the_values_through():
    tensor, threads = torch.arange(3), []

    def segment():
        threads.append(threading.get_ident())
        return (tensor, 7)

    values, _ = Native().run(segment)
    assert values[0] is tensor
    assert values[1] == 7
    assert threads == [threading.get_ident()]


def test_the_seconds_are_those_of_the_segment():
    def segment():
        time.sleep(0.05)
        return ()

    began = time.perf_counter()
    seconds = Native().run(segment)[1]
    assert 0.05 <= seconds <= time.perf_counter() - began


def test_the_executors_that_come_with_midcut():
    assert [component.name for component in midcut_executors()] == ["native", "emulated_clock"]
