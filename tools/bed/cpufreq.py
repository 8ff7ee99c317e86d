"""The edge's clock where that of the hardware can be set."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bed.clocks import Clock
from bed.errors import BedError, BedUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Undo = Sequence[tuple[str, int]]


class CpufreqClock(Clock):
    """The cpufreq policy of a core, whose highest and lowest clock are set to the same value.

    Args:
        core: one of the policy's.
        root: `/`, or a folder that looks like it.
        exists: another process set the clock; it is left so.
        save_undo: called before anything is changed, with the files and values that restore it, in order.

    Raises:
        BedUnavailable: there is no such policy, or it cannot be written.
    """

    kind: ClassVar[str] = "cpufreq"
    note: ClassVar[str] = "The clock is the hardware's own, set by cpufreq."

    def __init__(
        self,
        core: int,
        root: Path = Path("/"),
        *,
        exists: bool = False,
        save_undo: Callable[[Undo], None] = lambda _: None,
    ) -> None:
        policies = (root / "sys/devices/system/cpu/cpufreq").glob("policy[0-9]*")
        self._policy = next((policy for policy in sorted(policies) if core in _cores(policy)), None)
        if self._policy is None:
            raise BedUnavailable(f"core {core} has no cpufreq policy")
        # The lowest clock may never be over the highest, not even between two writes.
        undo = [("scaling_min_freq", "cpuinfo_min_freq")]
        undo += [(setting, setting) for setting in ("scaling_max_freq", "scaling_min_freq")]
        self._undo = [(str(self._policy / setting), _read(self._policy / source)) for setting, source in undo]
        super().__init__(root, _read(self._policy / "cpuinfo_max_freq") / 1000.0)
        if exists:
            return
        save_undo(self._undo)
        try:
            self.apply(self.max_mhz, 1.0)
        except BedError as error:
            self.close()
            save_undo(())
            raise BedUnavailable(str(error)) from None

    def apply(self, mhz: float, slowdown: float) -> None:
        if slowdown != 1.0:
            raise BedError("clock=cpufreq cannot be slowed down unseen by telemetry; use clock=cgroup")
        wanted = round(mhz * 1000)
        self._write({"scaling_min_freq": _read(self._folder / "cpuinfo_min_freq"), "scaling_max_freq": wanted})
        self._write({"scaling_min_freq": wanted})
        if (actual := _read(self._folder / "scaling_max_freq")) != wanted:
            raise BedError(f"{self._folder}: asked for {wanted} kHz, the driver set {actual}")

    def close(self) -> None:
        restore_values(self._undo)

    @property
    def _folder(self) -> Path:
        assert self._policy is not None  # noqa: S101 - checked by the constructor
        return self._policy

    def _write(self, values: dict[str, int]) -> None:
        for setting, value in values.items():
            try:
                (self._folder / setting).write_text(f"{value}\n", encoding="ascii")
            except OSError as error:
                raise BedUnavailable(f"{self._folder / setting}: cannot be set: {error.strerror}") from None


def restore_values(undo: Undo) -> None:
    """Write the saved values back, as far as they can be written."""
    for file, value in undo:
        with suppress(OSError):
            Path(file).write_text(f"{value}\n", encoding="ascii")


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
