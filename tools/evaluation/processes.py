"""The processes that run on a bed."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from common.processes import READY, start, stop, wait_ready

from midcut.errors import MidcutError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bed.hosts import Host

LOG = "stderr.log"


class SiteError(MidcutError):
    """A process on the bed did not start, or did not do what it was started for."""


def start_on(host: Host, command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Start a process in a folder of its own, which is made; its stderr goes to `stderr.log` there."""
    folder.mkdir(parents=True, exist_ok=True)
    return start(command, folder / LOG, popen=host.popen)


def require_ready(process: subprocess.Popen[str], name: str, folder: Path) -> None:
    """Wait until a server of midcut prints that it is ready.

    Raises:
        SiteError: it ended before that, or took longer than four minutes.
    """
    if not wait_ready(process, READY):
        raise SiteError(f"{name} did not start; {_log_end(folder / LOG)}")


def run_to_end(host: Host, command: Sequence[str], name: str, folder: Path, timeout_s: float) -> None:
    """Run a process until it ends.

    Raises:
        SiteError: it failed, or took too long.
    """
    process = start_on(host, command, folder)
    try:
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=timeout_s)
    finally:
        stop(process)
    if process.returncode:
        raise SiteError(f"{name} failed ({process.returncode}); {_log_end(folder / LOG)}")


def _log_end(log: Path) -> str:
    return f"{log}:\n{log.read_text()[-2000:]}"
