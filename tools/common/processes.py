"""Child processes: started, waited for until they are ready, stopped."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Popen: TypeAlias = Callable[..., subprocess.Popen[str]]

MIDCUT = [sys.executable, "-m", "midcut.cli"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
READY = r" ready on (\S+)"  # what `midcut cloud` and `midcut edge` print once they answer
START_S, STOP_S = 240.0, 60.0
_RANDOM = random.SystemRandom()  # programs with the same seed shall not choose the same port


def free_port() -> int:
    """A port that nobody listens on just now; from below those that Linux gives to programs which ask for any port."""
    while True:
        port = _RANDOM.randrange(20_000, 32_768)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def start(
    command: Sequence[str],
    log: Path,
    *,
    piped: bool = True,
    popen: Popen = subprocess.Popen,
) -> subprocess.Popen[str]:
    """Start a process that computes with one thread, in the folder of its log.

    Args:
        log: its errors are appended there, and its output too where that is not piped.
        popen: starts the process; a host of a test bed has one of its own.
    """
    with log.open("a") as file:
        stdout = subprocess.PIPE if piped else file
        return popen(command, stdout=stdout, stderr=file, text=True, cwd=log.parent, env=os.environ | ONE_THREAD)


def wait_ready(process: subprocess.Popen[str], pattern: str) -> re.Match[str] | None:
    """The first match in a line that the process prints; None where it ends, or prints none within four minutes."""
    deadline = threading.Timer(START_S, process.kill)  # ends the loop below where nothing is ever printed
    deadline.start()
    try:
        return next(filter(None, (re.search(pattern, line) for line in process.stdout or ())), None)
    finally:
        deadline.cancel()


def stop(process: subprocess.Popen[Any], patience_s: float = STOP_S) -> None:
    """Ask a process to end (SIGTERM), and kill it where it has not ended in time."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def start_ready(
    command: Sequence[str], log: Path, pattern: str = READY, *, popen: Popen = subprocess.Popen
) -> tuple[subprocess.Popen[str], re.Match[str]]:
    """A started process and the match that says it is ready; the program ends where that does not come."""
    process = start(command, log, popen=popen)
    if match := wait_ready(process, pattern):
        return process, match
    stop(process)
    raise SystemExit(f"{' '.join(command[:4])} did not start; {log}:\n{log.read_text()[-2000:]}")


@contextmanager
def running(
    command: Sequence[str], log: Path, pattern: str, *, popen: Popen = subprocess.Popen
) -> Iterator[re.Match[str]]:
    """A process that runs as long as the block; yields the match that said it is ready."""
    process, match = start_ready(command, log, pattern, popen=popen)
    try:
        yield match
    finally:
        stop(process)


@contextmanager
def server(verb: str, log: Path, *overrides: str) -> Iterator[str]:
    """`midcut cloud` or `midcut edge` as long as the block; yields its address."""
    with running([*MIDCUT, verb, *overrides], log, READY) as match:
        yield match[1]
