"""Measures with probes on the hosts: transfers, round trips and CPU work."""

from __future__ import annotations

import os
import re
import select
import shutil
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from bed import probes
from bed.errors import BedError

if TYPE_CHECKING:
    from bed.hosts import Host
    from bed.parts import BedParts

_PORT = 9041
_START_S = 20.0
_ANSWER_S = 60.0
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}


class Probe:
    """A probe process on a host. Leaving the block ends it."""

    def __init__(self, host: Host, *words: str) -> None:
        self._name = f"{host.name}'s probe `{words[0]}`"
        self._process = host.popen(
            [sys.executable, "-I", probes.__file__, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ONE_THREAD,
        )

    def __enter__(self) -> Probe:  # noqa: PYI034 - not meant to be inherited from
        self._read_line(_START_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, order: int) -> float:
        """Send an order; returns the seconds it took.

        Raises:
            BedError: the probe does not answer.
        """
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        self._process.stdin.write(f"{order}\n".encode())
        self._process.stdin.flush()
        return float(self._read_line(_ANSWER_S))

    def _read_line(self, within_s: float) -> str:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        if not select.select([self._process.stdout], [], [], within_s)[0]:
            raise BedError(f"{self._name} did not answer within {within_s:g} s")
        line: bytes = self._process.stdout.readline()
        if not line:
            raise BedError(f"{self._name} ended")
        return line.decode()


class TimedConnection:
    """A warm TCP connection from one host to the other, for timed bodies."""

    def __init__(self, source: Host, target: Host) -> None:
        self._sink = Probe(target, "sink", str(_PORT))
        self._source, self._target = source, target

    def __enter__(self) -> TimedConnection:  # noqa: PYI034 - not meant to be inherited from
        self._sink.__enter__()
        self._sender = Probe(self._source, "send", self._target.address, str(_PORT)).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.__exit__()
        self._sink.__exit__()

    def transfer_s(self, body_bytes: int) -> float:
        """Seconds from the first byte sent until the answer to the last."""
        return self._sender.ask(body_bytes)


def round_trips_ms(bed: BedParts, count: int) -> list[float]:
    """Round trips from the edge to the cloud: by ICMP where `ping` is installed, else of a byte over TCP."""
    if shutil.which("ping") is None:
        with TimedConnection(bed.edge, bed.cloud) as connection:
            return [connection.transfer_s(1) * 1000.0 for _ in range(count)]
    command = ["ping", "-n", "-c", str(count), "-i", "0.02", "-W", "5", bed.cloud.address]
    with bed.edge.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            output = process.communicate(timeout=_ANSWER_S)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise BedError("ping did not end") from None
    times_ms = [float(text) for text in re.findall(r"time=([\d.]+) ms", output)]
    if not times_ms:
        raise BedError(f"ping got no answer: {output.strip().rpartition(chr(10))[2] or 'it printed nothing'}")
    return times_ms


def pieces_in(probe: Probe, seconds: float) -> int:
    """How many pieces of work take this long at full speed."""
    probe.ask(50)
    piece_s = statistics.median(probe.ask(20) / 20 for _ in range(5))
    return max(round(seconds / piece_s), 1)
