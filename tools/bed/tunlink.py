"""The link as a process: carries packets between two TUN devices at a rate, after a delay, and drops some.

Each direction is [loss] -> [queue with a byte limit] -> [serialiser] -> [propagation delay]; packets stay in order. It
replaces the kernel's netem where that is missing. The serialiser has a rate, or the milliseconds of a mahimahi trace.
Standard library only, as it is started by its path:
    python -I tunlink.py --edge-fd N --cloud-fd N --socket PATH [--core N] [--seed N] [--watch-fd N]
Control is by datagrams of JSON, each answered: {} or {"both": {"rate_bps": 1e7, "delay_s": 0.01}} or
{"up": {"opportunities": "FILE.up"}}, which plays a file from now on, again and again; null ends that.
"""

from __future__ import annotations

import argparse
import bisect
import json
import math
import os
import random
import select
import signal
import socket
import time
from collections import deque
from contextlib import suppress
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ETHERNET_BYTES = 14  # a TUN device carries no Ethernet header; the wire that is emulated does
MIN_QUEUE_BYTES = 200_000
OPPORTUNITY_BYTES = 1500  # of the IP packet: mahimahi's 1504 count the 4 bytes that its TUN device puts before it
_PACKETS_AT_ONCE = 16
_IDLE_S = 1.0
_ROUNDING_S = 1e-7
_MAX_PACKET_BYTES = 65_535
_PRIORITY = 50


class Opportunities:
    """mahimahi's link: at each millisecond of a trace, a packet of 1500 bytes may leave.

    Smaller packets share an opportunity, larger ones take several; bytes that no packet uses are lost. After its last
    line the trace starts again.

    Args:
        times_ms: not decreasing, the last over 0.
        start_s: when the trace begins, by the clock of `departure_s`.
    """

    def __init__(self, times_ms: Sequence[int], start_s: float) -> None:
        self._times_ms, self._start_s = times_ms, start_s
        self._next, self._left_bytes = 0, OPPORTUNITY_BYTES

    def departure_s(self, packet_bytes: int, now_s: float) -> float:
        """When a packet that is queued now, after all others, has left."""
        if self._at_s(self._next) < now_s - _ROUNDING_S:
            self._skip_to(now_s - _ROUNDING_S)
        while packet_bytes > self._left_bytes:
            packet_bytes -= self._left_bytes
            self._advance(self._next + 1)
        self._left_bytes -= packet_bytes
        return self._at_s(self._next)

    def _at_s(self, number: int) -> float:
        rounds, at = divmod(number, len(self._times_ms))
        return self._start_s + (rounds * self._times_ms[-1] + self._times_ms[at]) / 1e3

    def _skip_to(self, now_s: float) -> None:
        """Go to the first opportunity from now on."""
        elapsed_ms, last_ms = (now_s - self._start_s) * 1e3, self._times_ms[-1]
        rounds = max(math.ceil(elapsed_ms / last_ms) - 1, 0)  # its last opportunity counts in the round that it ends
        rest_ms = min(elapsed_ms - rounds * last_ms, last_ms)
        self._advance(rounds * len(self._times_ms) + bisect.bisect_left(self._times_ms, rest_ms))

    def _advance(self, number: int) -> None:
        self._next, self._left_bytes = number, OPPORTUNITY_BYTES


class Direction:
    """One direction of the link: a packet's departure is computed when it arrives.

    Args:
        deliver: called with each packet when it is due.
        generator: decides which packets are lost.
    """

    def __init__(self, deliver: Callable[[bytes], None], generator: random.Random) -> None:
        self._deliver = deliver
        self._generator = generator
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._free_s = 0.0  # when the serialiser will have sent all it has
        self.rate_bps, self.delay_s, self.loss = 0.0, 0.0, 0.0
        self._opportunities: Opportunities | None = None
        self.delivered = self.dropped = self.wire_bytes = 0

    @property
    def due_at_s(self) -> float | None:
        """When the next packet is due; None where none waits."""
        return self._waiting[0][0] if self._waiting else None

    @property
    def queue_bytes(self) -> float:
        """Limit of the queue: the packets on their way, and 200 kB."""
        return MIN_QUEUE_BYTES + self.rate_bps * 2 * self.delay_s / 8

    def set(self, settings: Mapping[str, Any], now_s: float) -> None:
        """Change rate, delay, loss or trace. Queued packets are sent at the new rate."""
        if "opportunities" in settings:
            self._play(settings["opportunities"], now_s)
        rate_bps = float(settings.get("rate_bps", self.rate_bps))
        if rate_bps != self.rate_bps:
            backlog_s = max(0.0, self._free_s - now_s)
            self._rescale(now_s, self.rate_bps / rate_bps if rate_bps else 0.0)
            self._free_s = now_s + (backlog_s * self.rate_bps / rate_bps if rate_bps else 0.0)
        self.rate_bps = rate_bps
        self.delay_s = float(settings.get("delay_s", self.delay_s))
        self.loss = float(settings.get("loss", self.loss))

    def push(self, packet: bytes, now_s: float) -> None:
        """Accept a packet, or drop it."""
        if self.loss and self._generator.random() < self.loss:
            self.dropped += 1
            return
        size = len(packet) + ETHERNET_BYTES
        sent_s = now_s
        if self._opportunities is not None:
            if self._queued_bytes(now_s) + size > MIN_QUEUE_BYTES:
                self.dropped += 1
                return
            sent_s = self._opportunities.departure_s(len(packet), now_s)
        elif self.rate_bps:
            start_s = max(now_s, self._free_s)
            if (start_s - now_s) * self.rate_bps / 8 + size > self.queue_bytes:
                self.dropped += 1
                return
            self._free_s = sent_s = start_s + size * 8 / self.rate_bps
        self.wire_bytes += size
        last_s = self._waiting[-1][0] if self._waiting else 0.0  # a shorter delay must not let packets overtake
        self._waiting.append((max(sent_s + self.delay_s, last_s), packet))

    def deliver_due(self, now_s: float) -> None:
        """Deliver the packets that are due."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now_s:
            self._deliver(waiting.popleft()[1])
            self.delivered += 1

    def _play(self, file: str | None, now_s: float) -> None:
        self._opportunities = None if file is None else Opportunities(read_times_ms(Path(file)), now_s)

    def _queued_bytes(self, now_s: float) -> int:
        """Bytes of the packets that have not left yet."""
        waiting = takewhile(lambda each: each[0] - self.delay_s > now_s, reversed(self._waiting))
        return sum(len(packet) + ETHERNET_BYTES for _, packet in waiting)

    def _rescale(self, now_s: float, factor: float) -> None:
        """Scale the remaining time of packets that are not through the serialiser yet."""
        self._waiting = deque(
            (now_s + (due_at_s - self.delay_s - now_s) * factor + self.delay_s, packet)
            if due_at_s - self.delay_s > now_s
            else (due_at_s, packet)
            for due_at_s, packet in self._waiting
        )


class Link:
    """Both directions, their devices, and the control socket."""

    def __init__(self, edge: int, cloud: int, control: socket.socket, seed: int, watch: int | None) -> None:
        self._up = Direction(lambda packet: _write(cloud, packet), random.Random(f"up {seed}"))
        self._down = Direction(lambda packet: _write(edge, packet), random.Random(f"down {seed}"))
        self._from = {edge: self._up, cloud: self._down}
        self._control = control
        self._watch = watch
        self.ended = False

    def run(self) -> None:
        """Carry packets until `ended`, or until the other end of `watch` is closed."""
        clock, up, down = time.monotonic, self._up, self._down
        files = [*self._from, self._control.fileno(), *([] if self._watch is None else [self._watch])]
        while not self.ended:
            due = [due_at_s for due_at_s in (up.due_at_s, down.due_at_s) if due_at_s is not None]
            wait_s = max(0.0, min(due) - clock()) if due else _IDLE_S
            for file in select.select(files, [], [], wait_s)[0]:
                self._read(file)
                now_s = clock()
                up.deliver_due(now_s)
                down.deliver_due(now_s)
            now_s = clock()
            up.deliver_due(now_s)
            down.deliver_due(now_s)

    def _read(self, file: int) -> None:
        if file == self._watch:
            self.ended = True  # nothing is ever written to it: it becomes readable when it is closed
        elif file in self._from:
            direction = self._from[file]
            with suppress(BlockingIOError):
                for _ in range(_PACKETS_AT_ONCE):
                    direction.push(os.read(file, _MAX_PACKET_BYTES), time.monotonic())
        else:
            self._answer()

    def _answer(self) -> None:
        data, sender = self._control.recvfrom(_MAX_PACKET_BYTES)
        try:
            for name, settings in json.loads(data).items():
                for direction in {"up": [self._up], "down": [self._down], "both": [self._up, self._down]}[name]:
                    direction.set(settings, time.monotonic())
            reply: dict[str, Any] = {"up": _status(self._up), "down": _status(self._down)}
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            reply = {"error": f"not a command: {error!r}"}
        with suppress(OSError):  # the client may be gone
            self._control.sendto(json.dumps(reply).encode(), sender)


def read_times_ms(file: Path) -> list[int]:
    """The lines of a mahimahi trace."""
    times_ms = [int(line) for line in file.read_text(encoding="ascii").split()]
    if not times_ms or times_ms[0] < 0 or times_ms[-1] <= 0 or any(a > b for a, b in pairwise(times_ms)):
        raise ValueError(f"{file} is no trace of mahimahi: milliseconds that do not decrease, the last over 0")
    return times_ms


def _status(direction: Direction) -> dict[str, float]:
    names = ("rate_bps", "delay_s", "loss", "delivered", "dropped", "wire_bytes")
    return {name: getattr(direction, name) for name in names}


def _write(file: int, packet: bytes) -> None:
    with suppress(OSError):  # the device is down or full: the packet is lost, as on any link
        os.write(file, packet)


def _raise_priority(core: int | None) -> None:
    """Give this process priority: packets leave in time only if it runs in time."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except OSError:
        with suppress(OSError):
            os.nice(-20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge-fd", type=int, required=True)
    parser.add_argument("--cloud-fd", type=int, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--core", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--watch-fd", type=int, help="the process ends when the other end of this pipe is closed")
    options = parser.parse_args()
    _raise_priority(options.core)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        control.bind(str(options.socket))
        link = Link(options.edge_fd, options.cloud_fd, control, options.seed, options.watch_fd)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(link, "ended", True))
        link.run()


if __name__ == "__main__":
    main()
