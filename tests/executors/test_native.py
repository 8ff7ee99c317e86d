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


class Network:
    """A network whose nodes take 50 ms."""

    def __init__(self):
        self.threads = []

    def run(self, start, stop, values):
        self.threads.append(threading.get_ident())
        time.sleep(0.05)
        return (*values, start, stop)


def test_it_runs_on_the_calling_thread_and_hands_the_values_through():
    tensor, network = torch.arange(3), Network()
    values, _ = Native().prepare(network, 2, 5).run((tensor, 7))
    assert values[0] is tensor
    assert values[1:] == (7, 2, 5)
    assert network.threads == [threading.get_ident()]


def test_the_seconds_are_those_of_the_segment():
    began = time.perf_counter()
    seconds = Native().prepare(Network(), 0, 1).run(())[1]
    assert 0.05 <= seconds <= time.perf_counter() - began


def test_the_executors_that_come_with_midcut():
    assert [component.name for component in midcut_executors()] == [
        "native",
        "onnxruntime",
        "openvino",
        "auto",
        "emulated_clock",
    ]
