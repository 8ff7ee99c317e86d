"""Sets the machine's CPU clock through cpufreq, and restores it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOLERANCE = 0.01


class CpuClocks:
    """The cpufreq policies in a sysfs folder such as `/sys/devices/system/cpu`. Files hold kHz, this class uses MHz."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.policies = sorted(root.glob("cpufreq/policy*")) or sorted(root.glob("cpu[0-9]*/cpufreq"))

    def current_mhz(self) -> float | None:
        """The highest current clock of all policies; None where the machine does not report any."""
        readings = [_read_khz(policy / "scaling_cur_freq") for policy in self.policies]
        known = [khz for khz in readings if khz is not None]
        return max(known) / 1000 if known else None

    def available_mhz(self) -> tuple[float, ...]:
        """Clocks that every policy lists, ascending; empty where none are listed."""
        lists = [_read_words(policy / "scaling_available_frequencies") for policy in self.policies]
        shared = set(lists[0]).intersection(*lists[1:]) if lists else set()
        return tuple(sorted(int(khz) / 1000 for khz in shared if khz.isdigit()))

    def why_not_settable(self) -> str:
        """Why the clock cannot be set here; `""` where it can."""
        if not self.policies:
            return f"{self.root} has no cpufreq"
        for policy in self.policies:
            for name in ("scaling_min_freq", "scaling_max_freq"):
                if not os.access(policy / name, os.W_OK):
                    return f"{policy / name} is not writable (run as root, or change its owner)"
        return ""

    def set_mhz(self, clock_mhz: float) -> None:
        """Set the lower and the upper limit of all policies to one clock.

        Raises:
            ConfigError: the machine runs at another clock instead.
        """
        khz = round(clock_mhz * 1000)
        for policy in self.policies:
            _write_range(policy, khz, khz)
            if _has_userspace_governor(policy):
                _write(policy / "scaling_setspeed", khz)
            actual_khz = _read_khz(policy / "scaling_max_freq") or 0
            if abs(actual_khz - khz) > TOLERANCE * khz:
                listed = ", ".join(f"{mhz:g}" for mhz in self.available_mhz()) or "not listed"
                raise ConfigError(
                    f"{policy} runs at {actual_khz / 1000:g} MHz instead of {clock_mhz:g}; available: {listed}"
                )

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Restore limits and speed when the block ends, also after an error, Ctrl-C or SIGTERM."""
        saved = {
            policy: (
                _read_khz(policy / "scaling_min_freq"),
                _read_khz(policy / "scaling_max_freq"),
                _read_khz(policy / "scaling_setspeed") if _has_userspace_governor(policy) else None,
            )
            for policy in self.policies
        }
        with _exit_on_sigterm():
            try:
                yield
            finally:
                with contextlib.ExitStack() as stack:  # one that cannot be restored does not keep the others from it
                    for policy, before in saved.items():
                        stack.callback(_restore, policy, *before)


def _restore(policy: Path, low: int | None, high: int | None, speed: int | None) -> None:
    if low is not None and high is not None:
        _write_range(policy, low, high)
    if speed is not None:
        _write(policy / "scaling_setspeed", speed)


def _write_range(policy: Path, low: int, high: int) -> None:
    """Write both limits, ordered so that the lower limit never exceeds the upper one in between."""
    limits = [("scaling_max_freq", high), ("scaling_min_freq", low)]
    if high < (_read_khz(policy / "scaling_min_freq") or 0):
        limits.reverse()
    for name, khz in limits:
        _write(policy / name, khz)


def _has_userspace_governor(policy: Path) -> bool:
    return (
        _read_words(policy / "scaling_governor") == ["userspace"] and _read_khz(policy / "scaling_setspeed") is not None
    )


def _read_khz(path: Path) -> int | None:
    words = _read_words(path)
    return int(words[0]) if words and words[0].isdigit() else None


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _write(path: Path, khz: int) -> None:
    try:
        path.write_text(str(khz))
    except OSError as error:
        raise ConfigError(f"cannot write {khz} to {path}: {error.strerror or error}") from None


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into SystemExit inside the block, so that `finally` blocks run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
