"""The real clock of a Raspberry Pi: what the firmware runs, not what the kernel asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import structlog

from midcut.errors import TelemetryError

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = structlog.get_logger(__name__)
# Bits of get_throttled (Raspberry Pi documentation, `vcgencmd`); those from 16 on: has happened since boot.
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

    The clock counts even where the flags cannot be read; changed flags are logged.
    """

    def __init__(self, command: str, timeout_s: float, interval_s: float, *, optional: bool = False) -> None:
        self.interval_s = interval_s
        self._absent = optional and shutil.which(command) is None
        if self._absent:
            _log.info("no vcgencmd here: the clock comes from other sources", command=command)
        self._command = command
        self._timeout_s = timeout_s
        self._flags = 0

    def read(self) -> Mapping[str, float]:
        if self._absent:
            return {}
        clock_hz = self._ask(r"frequency\(\d+\)=(\d+)", "measure_clock", "arm")
        self._watch_flags()
        if clock_hz == 0:
            raise TelemetryError(f"{self._command} measure_clock arm: says 0 Hz")
        return {"clock_mhz": clock_hz / 1e6}

    def close(self) -> None:
        """Nothing is held open."""

    def _watch_flags(self) -> None:
        try:
            flags = self._ask(r"throttled=(0x[0-9a-fA-F]+)", "get_throttled")
        except TelemetryError:
            return
        if flags != self._flags:
            self._flags = flags
            names = [name for bit, name in _FLAGS.items() if flags >> bit & 1]
            _log.warning("throttling flags changed", source="vcgencmd", flags=hex(flags), meaning=names or ["none"])

    def _ask(self, pattern: str, *arguments: str) -> int:
        call = " ".join((self._command, *arguments))
        try:
            done = subprocess.run(  # noqa: S603 - the program is the user's choice
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
            raise TelemetryError(f"{call}: {reason}; it exists on a Raspberry Pi only, use cpufreq elsewhere") from None
        answer = (done.stdout + done.stderr).decode(errors="replace").strip()
        found = re.fullmatch(pattern, answer)
        if done.returncode != 0 or found is None:
            raise TelemetryError(f"{call}: unexpected answer {answer[:200]!r} (exit status {done.returncode})")
        return int(found[1], 0)
