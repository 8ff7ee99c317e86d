"""Power of this machine: energy counters of processors and GPUs, and sensors for voltage, current or power."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midcut.errors import TelemetryError
from midcut_telemetry.limits import check_timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Raspberry Pi 5: the converter does not measure all that the board takes; fitted by others to a meter at the plug.
PMIC_SLOPE, PMIC_OFFSET_W = 1.1451, 0.5879
# Jetson boards: the channel of the whole board. The other channels are parts of it.
_WHOLE_BOARD = ("VDD_IN", "POM_5V_IN")
# Beside the packages some processors count the whole platform, which holds them.
_PLATFORM = "psys"
# Fields that are no channel: curr4 is the sum of the three currents, in4 a shunt's voltage.
_NO_CHANNEL = {"ina3221": ("4",)}


class Counter:
    """Joules since the first call, from counters that start again at 0.

    Args:
        read_uj: returns the counters' values and the largest value of each, microjoules, by name.
    """

    def __init__(self, read_uj: Callable[[], dict[str, tuple[int, int]]]) -> None:
        self._read_uj = read_uj
        self._last: dict[str, int] = {}
        self._total_uj = 0

    def joules(self) -> float:
        """Energy since the first call. A counter that is lower than before has gone round once."""
        for name, (now, largest) in self._read_uj().items():
            before = self._last.get(name, now)
            self._total_uj += now - before if now >= before else largest - before + now
            self._last[name] = now
        return self._total_uj / 1e6


class CountedPower:
    """A source whose power is the energy between two reads over the seconds between them."""

    def __init__(self, counter: Counter, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval_s = interval_s
        self._counter = counter
        self._clock = clock
        self._before: tuple[float, float] | None = None

    def energy_j(self) -> float:
        """Joules since the first call or read."""
        return self._counter.joules()

    def read(self) -> Mapping[str, float]:
        """The mean power since the last read; nothing at the first one."""
        now = self._clock(), self.energy_j()
        before, self._before = self._before, now
        if before is None or now[0] <= before[0]:
            return {}
        return {"power_w": (now[1] - before[1]) / (now[0] - before[0])}

    def close(self) -> None:
        """Nothing to close."""


class Rapl(CountedPower):
    """Intel and AMD processors: the counters of all packages under `sys/class/powercap`, which only root may read.

    A counter starts again at 0 after `max_energy_range_uj`: within an hour or less, so that no read may be missed.
    """

    def __init__(self, root: str, interval_s: float) -> None:
        self._folder = Path(root) / "sys/class/powercap"
        super().__init__(Counter(self._counters), interval_s)

    def _counters(self) -> dict[str, tuple[int, int]]:
        zones = sorted(self._folder.glob("*-rapl:[0-9]*"))
        packages = [zone for zone in zones if zone.name.count(":") == 1 and _optional(zone / "name") != _PLATFORM]
        if not packages:
            raise TelemetryError(f"no energy counter {self._folder}/intel-rapl:*; this machine may have none")
        return {zone.name: (_integer(zone / "energy_uj"), _integer(zone / "max_energy_range_uj")) for zone in packages}


class Nvml(CountedPower):
    """An NVIDIA GPU's energy counter, by the extra `nvml`. It is of the GPU alone, without the machine around it."""

    def __init__(self, device: int, interval_s: float) -> None:
        try:
            import pynvml  # noqa: PLC0415 - an extra
        except ImportError:
            raise TelemetryError("telemetry=nvml needs the extra `nvml`: pip install 'midcut[nvml]'") from None
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(device)
        except pynvml.NVMLError as error:
            raise TelemetryError(f"NVML, GPU {device}: {error}") from None
        super().__init__(Counter(self._counters), interval_s)

    def _counters(self) -> dict[str, tuple[int, int]]:
        try:
            millijoules = int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError as error:
            raise TelemetryError(f"NVML has no energy counter for this GPU: {error}") from None
        return {"gpu": (millijoules * 1000, 2**64 * 1000)}

    def close(self) -> None:
        self._nvml.nvmlShutdown()


class SensedPower:
    """A source that senses the power at each read."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s

    def read(self) -> Mapping[str, float]:
        """The present power."""
        return {"power_w": self.watts()}

    def watts(self) -> float:
        """Sense the power.

        Raises:
            TelemetryError: there is no sensor, or it gives no number.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to close."""


class Hwmon(SensedPower):
    """Sensors under `sys/class/hwmon`: power in microwatts, or voltage (mV) times current (mA), as an INA3221 gives.

    Args:
        chip: only chips of this name; `""` takes the first that has a channel.
        channel: only the channel of this label; `""` takes the whole board's where it has a known label, else the sum.
    """

    def __init__(self, root: str, chip: str, channel: str, interval_s: float) -> None:
        super().__init__(interval_s)
        self._folder = Path(root) / "sys/class/hwmon"
        self._chip, self._channel = chip, channel

    def watts(self) -> float:
        for chip in sorted(self._folder.glob("hwmon[0-9]*"), key=lambda folder: int(folder.name[5:])):
            if self._chip and _text(chip / "name") != self._chip:
                continue
            channels = _power_channels(chip) or _product_channels(chip)
            if channels:
                return self._choose(chip, channels)
        named = f" named {self._chip!r}" if self._chip else ""
        raise TelemetryError(f"no chip{named} under {self._folder} measures power, or voltage and current")

    def _choose(self, chip: Path, channels: dict[str, float]) -> float:
        if self._channel and self._channel not in channels:
            raise TelemetryError(f"{chip} has no channel {self._channel!r}; it has {', '.join(sorted(channels))}")
        whole = next((label for label in (self._channel, *_WHOLE_BOARD) if label in channels), None)
        return sum(channels.values()) if whole is None else channels[whole]


class Pmic(SensedPower):
    """A Raspberry Pi 5's power converter: the sum of voltage times current of its rails, corrected to the plug.

    Earlier boards sense no current.
    """

    def __init__(self, command: str, timeout_s: float, interval_s: float) -> None:
        super().__init__(interval_s)
        self._command, self._timeout_s = command, check_timeout("pmic", timeout_s)

    def watts(self) -> float:
        call = f"{self._command} pmic_read_adc"
        try:
            finished = subprocess.run(  # noqa: S603 - the program is the user's choice
                (self._command, "pmic_read_adc"), capture_output=True, timeout=self._timeout_s, check=False, text=True
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = getattr(error, "strerror", None) or error
            raise TelemetryError(f"{call}: {reason}; only a Raspberry Pi 5 has it") from None
        rails: dict[tuple[str, str], float] = {
            (match[1], match[2]): float(match[3])
            for match in re.finditer(r"(\w+)_([AV]) (?:current|volt)\(\d+\)=([\d.]+)[AV]", finished.stdout)
        }
        products = [rails[rail, "V"] * amperes for (rail, unit), amperes in rails.items() if unit == "A"
                    and (rail, "V") in rails]  # fmt: skip
        if not products:
            answer = (finished.stdout + finished.stderr).strip()[:200]
            raise TelemetryError(f"{call}: no rail with voltage and current in {answer!r}")
        return sum(products) * PMIC_SLOPE + PMIC_OFFSET_W


def _power_channels(chip: Path) -> dict[str, float]:
    """Label -> watts of the channels that measure power."""
    files: Sequence[Path] = sorted(chip.glob("power*_input")) or sorted(chip.glob("power*_average"))
    return {_label(chip, file.name.partition("_")[0]): _integer(file) / 1e6 for file in files}


def _product_channels(chip: Path) -> dict[str, float]:
    """Label -> watts of the channels that measure both voltage and current."""
    channels = {}
    others = _NO_CHANNEL.get(_optional(chip / "name"), ())
    for current in sorted(chip.glob("curr*_input")):
        number = current.name.partition("_")[0].removeprefix("curr")
        voltage = chip / f"in{number}_input"
        # A channel that is switched off can be listed, but not read.
        if voltage.exists() and number not in others and _optional(chip / f"in{number}_enable") != "0":
            channels[_label(chip, f"in{number}")] = _integer(voltage) * _integer(current) / 1e6
    return channels


def _label(chip: Path, channel: str) -> str:
    return _optional(chip / f"{channel}_label") or channel


def _optional(file: Path) -> str:
    """The text of a file that need not be there; `""` without it."""
    return _text(file) if file.exists() else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        hint = " (only root may read energy counters)" if isinstance(error, PermissionError) else ""
        raise TelemetryError(f"{file}: {error.strerror or error}{hint}") from None


def _integer(file: Path) -> int:
    text = _text(file)
    if not text.isdigit():
        raise TelemetryError(f"{file}: not a number, 0 or more: {text[:40]!r}")
    return int(text)
