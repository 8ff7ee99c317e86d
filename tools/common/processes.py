"""Processes of midcut: started, waited for, ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIDCUT = [sys.executable, "-m", "midcut.cli"]


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start(verb: str, log: Path, *overrides: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server verb with one thread and wait until it says that it is ready; returns it and its address."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [*MIDCUT, verb, *overrides],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            cwd=log.parent,
        )
    line = process.stdout.readline() if process.stdout else ""
    if " ready on " not in line:
        process.kill()
        raise SystemExit(f"midcut {verb} did not start: {log.read_text()[-2000:]}")
    return process, line.split()[4]


@contextmanager
def server(verb: str, log: Path, *overrides: str) -> Iterator[str]:
    """A server verb's address; it is ended with the block."""
    process, url = start(verb, log, *overrides)
    try:
        yield url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
