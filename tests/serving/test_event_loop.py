from __future__ import annotations

import asyncio
import gc
import signal
import threading
import weakref

import pytest
import torch

from midcut.serving.event_loop import freeze_objects, run
from midcut.serving.threads import Threads
from midcut.wire.workload import off_loop


def test_signals_are_handled_after_a_loop_as_before_it():
    async def listens():
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, print)
        return "done"

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run(listens()) == "done"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(("size_bytes", "elsewhere"), [(1_000, False), (1_000_000, True)])
async def test_work_on_many_bytes_is_done_beside_the_event_loop(size_bytes, elsewhere):
    here = threading.get_ident()
    assert (await off_loop(size_bytes, threading.get_ident) != here) is elsewhere


def test_frozen_objects_are_left_out_of_searches_for_cycles():
    class Node:
        pass

    before, garbage = Node(), Node()
    garbage.own = garbage
    gone = weakref.ref(garbage)
    del garbage
    try:
        freeze_objects()
        assert gone() is None
        assert not any(held is before for held in gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_plugin_may_learn_by_gradients_on_the_loop_and_on_a_thread():
    layer = torch.nn.Linear(2, 1)

    def learn():
        layer(torch.ones(1, 2)).sum().backward()
        return layer.bias.grad.item()

    async def on_loop_and_thread():
        with Threads(1, "planning") as threads:
            return learn(), await threads.run(learn)

    assert run(on_loop_and_thread()) == (1.0, 2.0)
