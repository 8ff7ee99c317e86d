from __future__ import annotations

import asyncio
import signal

from midcut.loops import run


def test_signals_are_handled_after_a_loop_as_before_it():
    async def listens():
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, print)
        return "done"

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run(listens()) == "done"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
