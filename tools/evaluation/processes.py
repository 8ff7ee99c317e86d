"""The processes that run on a bed."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from midcut.errors import MidcutError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bed.hosts import Host

START_S, STOP_S = 120.0, 15.0
LOG = "stderr.log"


class SiteError(MidcutError):
    """A process on the bed did not start, or did not do what it was started for."""


def start(host: Host, command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Start a process in a folder of its own, which is made; its stderr goes to `stderr.log` there."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # each host has one core
    with (folder / LOG).open("w") as errors:
        return host.popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder, env=environment)


def wait_for_line(process: subprocess.Popen[str], text: str, name: str, folder: Path) -> None:
    """Wait until the process prints a line with `text`.

    Raises:
        SiteError: it ended before that, or took longer than two minutes.
    """
    late = threading.Timer(START_S, process.kill)  # ends the loop below where nothing is ever printed
    late.start()
    try:
        ready = process.stdout is not None and any(text in line for line in iter(process.stdout.readline, ""))
    finally:
        late.cancel()
    if not ready:
        raise SiteError(f"{name} did not start; {_log_end(folder / LOG)}")


def run_to_end(host: Host, command: Sequence[str], name: str, folder: Path, timeout_s: float) -> None:
    """Run a process until it ends.

    Raises:
        SiteError: it failed, or took too long.
    """
    process = start(host, command, folder)
    try:
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=timeout_s)
    finally:
        stop(process)
    if process.returncode:
        raise SiteError(f"{name} failed ({process.returncode}); {_log_end(folder / LOG)}")


def _log_end(log: Path) -> str:
    return f"{log}:\n{log.read_text()[-2000:]}"


def stop(process: subprocess.Popen[str]) -> None:
    """Ask it to end, and kill it where it does not."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
