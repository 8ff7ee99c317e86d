"""A share of a core's time by control groups, version 1 or 2."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from bed.errors import BedError, BedUnavailable

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 10_000  # shorter is too short for a 250 Hz tick, longer makes the times of runs of tens of ms bimodal
# Cold caches cost a third of 2 ms in each period, too much to compensate. Runs take long at such shares.
_LONG_PERIOD_US, _LONG_BELOW = 20_000, 0.3
MIN_QUOTA_US = 1_000  # the kernel's own bound
_EMPTYING_S = 3.0


class Group(Protocol):
    """A control group that processes can be put into."""

    procs: Path

    def limit(self, quota_us: int | None, period_us: int) -> None:
        """Allow its processes this much time in each period; None is all of it."""

    def remove(self) -> None:
        """End its processes and remove it."""


class GroupV1:
    """cpu.cfs_quota_us of the version 1 controller."""

    def __init__(self, name: str, root: Path = ROOT) -> None:
        self._folder = root / "cpu" / name
        self.procs = self._folder / "cgroup.procs"
        self._folder.mkdir(exist_ok=True)
        _write(self._folder / "cpu.shares", 262_144)  # others on the core get only what the host leaves

    def limit(self, quota_us: int | None, period_us: int) -> None:
        period = self._folder / "cpu.cfs_period_us"  # another process may have changed it
        if _read(period) != str(period_us):  # the old quota may not be allowed with the new period
            _write(self._folder / "cpu.cfs_quota_us", -1)
            _write(period, period_us)
        _write(self._folder / "cpu.cfs_quota_us", -1 if quota_us is None else quota_us)

    def remove(self) -> None:
        _remove(self._folder)


class GroupV2:
    """cpu.max of the unified hierarchy."""

    def __init__(self, name: str, root: Path = ROOT) -> None:
        with suppress(BedError):  # it may be enabled already, and read-only
            _write(root / "cgroup.subtree_control", "+cpu")
        self._folder = root / name
        self.procs = self._folder / "cgroup.procs"
        self._folder.mkdir(exist_ok=True)
        if not (self._folder / "cpu.max").exists():
            self._folder.rmdir()
            raise BedUnavailable(f"{root}: the cpu controller is not handed down to new groups")
        _write(self._folder / "cpu.weight", 10_000)

    def limit(self, quota_us: int | None, period_us: int) -> None:
        _write(self._folder / "cpu.max", f"{'max' if quota_us is None else quota_us} {period_us}")

    def remove(self) -> None:
        _remove(self._folder)


def period_us(share: float) -> int:
    """Length of the periods in which the core is given and taken, at a share of its time."""
    return _LONG_PERIOD_US if share < _LONG_BELOW else PERIOD_US


def new_group(name: str, root: Path = ROOT) -> Group:
    """A group of the version that this machine offers.

    Raises:
        BedUnavailable: it offers neither; the message says why.
    """
    try:
        if (root / "cpu" / "cpu.cfs_quota_us").exists():
            return GroupV1(name, root)
        if "cpu" in (root / "cgroup.controllers").read_text(encoding="ascii").split():
            return GroupV2(name, root)
    except OSError as error:
        raise BedUnavailable(f"no control group for CPU time: {error.strerror} ({error.filename})") from None
    raise BedUnavailable(f"no control group for CPU time: {root} has no cpu controller")


def remove_groups(name: str) -> None:
    """Remove the group of this name if there is one."""
    for folder in (ROOT / "cpu" / name, ROOT / name):
        _remove(folder)


def _write(path: Path, value: object) -> None:
    try:
        path.write_text(f"{value}\n", encoding="ascii")
    except OSError as error:
        raise BedError(f"{path}: cannot be set to {value}: {error.strerror}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise BedError(f"{path}: cannot be read: {error.strerror}") from None


def _remove(folder: Path) -> None:
    """Remove a group's folder. Processes that outlived their host's namespace are ended: they are the bed's own."""
    end = time.monotonic() + _EMPTYING_S
    while folder.is_dir():
        with suppress(OSError):
            folder.rmdir()
            return
        if time.monotonic() > end:
            raise BedError(f"{folder}: cannot be removed: processes in it do not end")
        for pid in _pids(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _pids(folder: Path) -> list[int]:
    try:
        return [int(word) for word in (folder / "cgroup.procs").read_text(encoding="ascii").split()]
    except OSError:
        return []
