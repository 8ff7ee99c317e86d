"""Network namespaces: made, entered, emptied and removed, by name."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bed.errors import BedError

if TYPE_CHECKING:
    from collections.abc import Callable

NETNS = Path("/run/netns")
_T = TypeVar("_T")
_CLONE_NEWNET = 0x40000000
_PROGRAM_S = 20.0
_ENDING_S = 3.0


def run_program(*command: str) -> str:
    """Run a program of the system and return what it prints.

    Raises:
        BedError: it failed; one line, with the program's message.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROGRAM_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BedError(f"{' '.join(command)}: {error}") from None
    if done.returncode:
        message = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise BedError(f"{' '.join(command)}: {message}")
    return done.stdout


def inside(name: str, action: Callable[[], _T]) -> _T:
    """Call a function in a namespace, on a short-lived thread, so that the caller's own namespace stays.

    Sockets, TUN devices and sysctls that it opens belong to the namespace for as long as they live.

    Raises:
        BedError: there is no such namespace, or it may not be entered.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            _set_namespace(NETNS / name)
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - raised again below, on the caller's thread
            errors.append(error)

    thread = threading.Thread(target=enter, name=f"in-{name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _set_namespace(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BedError(f"{path}: {error.strerror}") from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle, _CLONE_NEWNET):
            raise BedError(f"{path}: cannot enter it: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(handle)


def add(name: str, sysctls: dict[str, Any]) -> None:
    """Make a namespace with its loopback device up and these settings under /proc/sys/net/ipv4."""
    run_program("ip", "netns", "add", name)
    run_program("ip", "-n", name, "link", "set", "lo", "up")
    inside(name, lambda: _set_sysctls(sysctls))


def _set_sysctls(sysctls: dict[str, Any]) -> None:
    for setting, value in sysctls.items():
        path = Path("/proc/sys/net/ipv4") / setting
        try:
            path.write_text(f"{value}\n", encoding="ascii")
        except OSError as error:
            raise BedError(f"{path}: cannot be set to {value!r}: {error.strerror}") from None


def names(prefix: str) -> list[str]:
    """Names of the namespaces that begin with a prefix."""
    return sorted(path.name for path in NETNS.glob(f"{prefix}*")) if NETNS.is_dir() else []


def remove(name: str) -> None:
    """End the processes inside, then remove the namespace with its interfaces."""
    if not (NETNS / name).exists():
        return
    for how in (signal.SIGTERM, signal.SIGKILL):
        _signal(name, how)
        end = time.monotonic() + _ENDING_S
        while _processes(name) and time.monotonic() < end:
            time.sleep(0.02)
    run_program("ip", "netns", "del", name)


def _processes(name: str) -> list[int]:
    try:
        pids = run_program("ip", "netns", "pids", name)
    except BedError:  # it is gone, or was never mounted: no process is inside
        return []
    return [int(word) for word in pids.split() if int(word) != os.getpid()]


def _signal(name: str, how: signal.Signals) -> None:
    for process in _processes(name):
        with suppress(ProcessLookupError):
            os.kill(process, how)
