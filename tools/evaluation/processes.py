"""The processes that run on a bed."""

from __future__ import annotations

import os
import subprocess
import threading
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


def one_thread() -> dict[str, str]:
    """The environment of every process on the bed: a core each."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


def begin(end: Host, command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Start one in a folder of its own, which is made; its errors go to `stderr.log` there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("w") as errors:
        return end.popen(list(command), stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder, env=one_thread())


def wait_for(process: subprocess.Popen[str], said: str, name: str, folder: Path) -> None:
    """Until it prints a line with `said`.

    Raises:
        SiteError: it ended before that, or took longer than two minutes.
    """
    late = threading.Timer(START_S, process.kill)  # ends the loop below where nothing is ever printed
    late.start()
    try:
        ready = process.stdout is not None and any(said in line for line in iter(process.stdout.readline, ""))
    finally:
        late.cancel()
    if not ready:
        log = folder / LOG
        raise SiteError(f"{name} did not start; {log}:\n{log.read_text()[-2000:]}")


def finish(process: subprocess.Popen[str]) -> None:
    """Ask it to end, and kill it where it does not."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
