"""The edge's clock where the hardware's own can be set."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from bed.clocks import Clock
from bed.errors import BedError, BedUnavailable


class CpufreqClock(Clock):
    """cpufreq of the policy that governs a core: highest and lowest clock are set to the same.

    Args:
        core: one of the policy's.
        root: `/`, or a folder that looks like it.

    Raises:
        BedUnavailable: there is no such policy, or it cannot be written.
    """

    kind: ClassVar[str] = "cpufreq"
    note: ClassVar[str] = "The clock is the hardware's own, set by cpufreq."

    def __init__(self, core: int, root: Path = Path("/")) -> None:
        policies = (root / "sys/devices/system/cpu/cpufreq").glob("policy[0-9]*")
        self._policy = next((policy for policy in sorted(policies) if core in _cores(policy)), None)
        if self._policy is None:
            raise BedUnavailable(f"core {core} has no cpufreq policy")
        self._before = {knob: _read(self._policy / knob) for knob in ("scaling_max_freq", "scaling_min_freq")}
        super().__init__(root, _read(self._policy / "cpuinfo_max_freq") / 1000.0)
        try:
            self.apply(self.max_mhz, 1.0)
        except BedError as error:
            raise BedUnavailable(str(error)) from None

    def apply(self, mhz: float, slowdown: float) -> None:
        if slowdown != 1.0:
            raise BedError("clock=cpufreq cannot be slowed down unseen; use clock=cgroup")
        wanted = round(mhz * 1000)
        # The lowest may never be over the highest, on the way either.
        self._write({"scaling_min_freq": _read(self._folder / "cpuinfo_min_freq"), "scaling_max_freq": wanted})
        self._write({"scaling_min_freq": wanted})
        if (got := _read(self._folder / "scaling_max_freq")) != wanted:
            raise BedError(f"{self._folder}: asked for {wanted} kHz, the driver took {got}")

    def close(self) -> None:
        with suppress(BedError):
            self._write({"scaling_min_freq": _read(self._folder / "cpuinfo_min_freq"), **self._before})

    @property
    def _folder(self) -> Path:
        assert self._policy is not None  # noqa: S101 - checked when made
        return self._policy

    def _write(self, values: dict[str, int]) -> None:
        for knob, value in values.items():
            try:
                (self._folder / knob).write_text(f"{value}\n", encoding="ascii")
            except OSError as error:
                raise BedUnavailable(f"{self._folder / knob}: cannot be set: {error.strerror}") from None


def _cores(policy: Path) -> list[int]:
    try:
        return [int(word) for word in (policy / "affected_cpus").read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []


def _read(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise BedUnavailable(f"{path}: {error}") from None
