"""The clock as Linux reports it: cpufreq in sysfs, else /proc/cpuinfo."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from midcut.errors import TelemetryError
from midcut_telemetry.config import Aggregate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_AGGREGATES: dict[Aggregate, Callable[[Iterable[float]], float]] = {
    Aggregate.max: max,
    Aggregate.min: min,
    Aggregate.mean: statistics.fmean,
}


class Cpufreq:
    """Reads `scaling_cur_freq` of every policy as the clock of every core that the policy governs.

    The value is the clock that the kernel requests; firmware may run slower (raspberrypi/linux issue 2986).
    """

    def __init__(self, root: str, aggregate: Aggregate, core: int | None, interval_s: float) -> None:
        self.interval_s = interval_s
        self._root = Path(root)
        self._cpu = self._root / "sys/devices/system/cpu"
        self._cpuinfo = self._root / "proc/cpuinfo"
        self._aggregate = aggregate
        self._core = core

    def read(self) -> Mapping[str, float]:
        cores = self._clocks_of_policies() or self._clocks_of_cores() or self._clocks_of_cpuinfo()
        if not cores:
            raise TelemetryError(
                f"no clock under {self._root}: neither {self._cpu}/cpufreq/policy*/scaling_cur_freq "
                f"nor a 'cpu MHz' line in {self._cpuinfo}; use telemetry=constant or replay here"
            )
        if self._core is None:
            return {"clock_mhz": float(_AGGREGATES[self._aggregate](cores.values()))}
        if self._core not in cores:
            known = ", ".join(str(core) for core in sorted(cores))
            raise TelemetryError(f"core {self._core} has no clock under {self._root}; these have: {known}")
        return {"clock_mhz": cores[self._core]}

    def close(self) -> None:
        """Nothing to close."""

    def _clocks_of_policies(self) -> dict[int, float]:
        clocks: dict[int, float] = {}
        for policy in sorted((self._cpu / "cpufreq").glob("policy[0-9]*")):
            cores = _cores_of(policy)
            if cores:  # a policy whose cores are all offline has no clock
                clocks |= dict.fromkeys(cores, _read_mhz(policy / "scaling_cur_freq"))
        return clocks

    def _clocks_of_cores(self) -> dict[int, float]:
        folders = self._cpu.glob("cpu[0-9]*/cpufreq")
        return {int(folder.parent.name[3:]): _read_mhz(folder / "scaling_cur_freq") for folder in folders}

    def _clocks_of_cpuinfo(self) -> dict[int, float]:
        try:
            text = self._cpuinfo.read_text(encoding="ascii", errors="replace")
        except OSError:
            return {}
        # A core that is offline has no entry, so that the place of an entry is not its core's number.
        entries = re.findall(
            r"^processor\s*:\s*(\d+)\n(?:(?!processor).*\n)*?cpu MHz\s*:\s*(\d+(?:\.\d+)?)\s*$", text, re.MULTILINE
        )
        return {int(core): float(mhz) for core, mhz in entries}


def _cores_of(policy: Path) -> Sequence[int]:
    try:
        return [int(core) for core in (policy / "affected_cpus").read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return [int(policy.name.removeprefix("policy"))]


def _read_mhz(file: Path) -> float:
    try:
        text = file.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise TelemetryError(f"{file}: {error.strerror or error}") from None
    if not text.isdigit() or int(text) == 0:
        raise TelemetryError(f"{file}: not a clock in kHz: {text!r}")
    return int(text) / 1000.0
