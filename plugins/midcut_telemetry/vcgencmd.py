"""The real clock of a Raspberry Pi: the one the firmware sets, not the one the kernel requests."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import structlog

from midcut.errors import TelemetryError
from midcut_telemetry.limits import check_timeout

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = structlog.get_logger(__name__)
# Bits of get_throttled (Raspberry Pi documentation, `vcgencmd`); from bit 16 on they stay set until the next boot.
_FLAGS = {
    0: "under-voltage",
    1: "arm frequency capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "under-voltage has occurred",
    17: "arm frequency capping has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}


class Vcgencmd:
    """Runs `vcgencmd measure_clock arm` and `vcgencmd get_throttled` at every read.

    A failure to read the flags does not affect the clock; changed flags are logged.
    """

    def __init__(self, command: str, timeout_s: float, interval_s: float, *, optional: bool = False) -> None:
        self.interval_s = interval_s
        self._missing = optional and shutil.which(command) is None
        if self._missing:
            _log.info("this machine has no vcgencmd; the clock must come from other sources", command=command)
        self._command = command
        self._timeout_s = check_timeout("vcgencmd", timeout_s)
        self._flags = 0

    def read(self) -> Mapping[str, float]:
        if self._missing:
            return {}
        clock_hz = self._run(r"frequency\(\d+\)=(\d+)", "measure_clock", "arm")
        self._log_changed_flags()
        if clock_hz == 0:
            raise TelemetryError(f"{self._command} measure_clock arm: reported 0 Hz")
        return {"clock_mhz": clock_hz / 1e6}

    def close(self) -> None:
        """Nothing to close."""

    def _log_changed_flags(self) -> None:
        try:
            flags = self._run(r"throttled=(0x[0-9a-fA-F]+)", "get_throttled")
        except TelemetryError:
            return
        if flags != self._flags:
            self._flags = flags
            names = [name for bit, name in _FLAGS.items() if flags >> bit & 1]
            _log.warning("throttling flags changed", source="vcgencmd", flags=hex(flags), meaning=names or ["none"])

    def _run(self, pattern: str, *arguments: str) -> int:
        call = " ".join((self._command, *arguments))
        try:
            result = subprocess.run(  # noqa: S603 - the program is the user's choice
                (self._command, *arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TelemetryError(f"{call}: no answer in {self._timeout_s:g} s") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise TelemetryError(
                f"{call}: {reason}; only a Raspberry Pi has it, use telemetry=cpufreq elsewhere"
            ) from None
        answer = (result.stdout + result.stderr).decode(errors="replace").strip()
        match = re.fullmatch(pattern, answer)
        if result.returncode != 0 or match is None:
            raise TelemetryError(f"{call}: unexpected answer {answer[:200]!r} (exit status {result.returncode})")
        return int(match[1], 0)
