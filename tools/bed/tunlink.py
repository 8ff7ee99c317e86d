"""The link as a process: carries packets between two TUN devices at a rate, after a delay, and drops some.

Each direction is [loss] -> [queue with a byte limit] -> [serialiser] -> [propagation delay]; packets stay in order. It
replaces the kernel's netem where that is missing. Standard library only, as it is started by its path:
    python -I tunlink.py --edge-fd N --cloud-fd N --socket PATH [--core N] [--seed N] [--watch-fd N]
Control is by datagrams of JSON, each answered: {} or {"both": {"rate_bps": 1e7, "delay_s": 0.01}}.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import socket
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ETHERNET_BYTES = 14  # a TUN device carries no Ethernet header; the wire that is emulated does
MIN_QUEUE_BYTES = 200_000
_PACKETS_AT_ONCE = 16
_IDLE_S = 1.0
_MAX_PACKET_BYTES = 65_535
_PRIORITY = 50


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
        self.delivered = self.dropped = self.wire_bytes = 0

    @property
    def due_s(self) -> float | None:
        """When the next packet is due; None where none waits."""
        return self._waiting[0][0] if self._waiting else None

    @property
    def queue_bytes(self) -> float:
        """Limit of the queue: the packets on their way, and 200 kB."""
        return MIN_QUEUE_BYTES + self.rate_bps * 2 * self.delay_s / 8

    def set(self, knobs: Mapping[str, float], now_s: float) -> None:
        """Change rate, delay or loss. Queued packets are sent at the new rate."""
        rate_bps = float(knobs.get("rate_bps", self.rate_bps))
        if rate_bps != self.rate_bps:
            backlog_s = max(0.0, self._free_s - now_s)
            self._rescale(now_s, self.rate_bps / rate_bps if rate_bps else 0.0)
            self._free_s = now_s + (backlog_s * self.rate_bps / rate_bps if rate_bps else 0.0)
        self.rate_bps = rate_bps
        self.delay_s = float(knobs.get("delay_s", self.delay_s))
        self.loss = float(knobs.get("loss", self.loss))

    def push(self, packet: bytes, now_s: float) -> None:
        """Accept a packet, or drop it."""
        if self.loss and self._generator.random() < self.loss:
            self.dropped += 1
            return
        size = len(packet) + ETHERNET_BYTES
        sent_s = now_s
        if self.rate_bps:
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

    def _rescale(self, now_s: float, factor: float) -> None:
        """Scale the remaining time of packets that are not through the serialiser yet."""
        self._waiting = deque(
            (now_s + (due_s - self.delay_s - now_s) * factor + self.delay_s, packet)
            if due_s - self.delay_s > now_s
            else (due_s, packet)
            for due_s, packet in self._waiting
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
            due = [due_s for due_s in (up.due_s, down.due_s) if due_s is not None]
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
            for name, knobs in json.loads(data).items():
                for direction in {"up": [self._up], "down": [self._down], "both": [self._up, self._down]}[name]:
                    direction.set(knobs, time.monotonic())
            reply: dict[str, Any] = {"up": _status(self._up), "down": _status(self._down)}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reply = {"error": f"not a command: {error!r}"}
        with suppress(OSError):  # the client may be gone
            self._control.sendto(json.dumps(reply).encode(), sender)


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
