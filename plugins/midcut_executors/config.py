"""Settings of the executors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from omegaconf import MISSING

from midcut.errors import ConfigError
from midcut_executors.comparing import TOLERANCE


class Accuracy(StrEnum):
    """How near to which computation the results of a runtime are."""

    bits = "bits"
    float32 = "float32"
    fast = "fast"


def tolerance_of(accuracy: Accuracy, tolerance: float | None, fast: float = 0.05) -> float:
    """The largest difference from PyTorch, as a share of a value's largest element."""
    if tolerance is not None:
        return tolerance
    return fast if accuracy is Accuracy.fast else TOLERANCE


@dataclass
class NativeConfig:
    """This machine at its own speed. It has no settings."""


@dataclass
class OnnxRuntimeConfig:
    """ONNX Runtime on the CPU, in float32 unless `accuracy=fast`. Needs the extra `onnx`.

    Attributes:
        threads: of one run; null is as many as PyTorch (`engine.threads`, `cloud.threads`).
        tolerance: largest difference from PyTorch, as a share of a value's largest element; a segment that differs by
            more runs in PyTorch. null is 0.001, and 0.25 of the median picture with `accuracy=fast`.
        accuracy: `float32` is within `tolerance` of PyTorch; with `bits`, head plus tail have the bits of the whole
            model in this runtime, and a cut where they have not is run as the whole model at the edge; `fast` is 8-bit
            integers, which needs `calibration`.
        calibration: with `accuracy=fast`, a folder with ten or more pictures of what the edge will see: they give the
            ranges of the integers, and segments are compared with PyTorch on them.
        segments: how many heads and tails stay ready at most; fewer of a model whose weights are large.
    """

    threads: int | None = None
    tolerance: float | None = None
    accuracy: Accuracy = Accuracy.float32
    calibration: str | None = None
    segments: int = 32

    def __post_init__(self) -> None:
        _check(self.threads, self.tolerance, self.segments)
        _check_calibration(self.accuracy, self.calibration)
        if self.accuracy is Accuracy.fast and self.calibration is None:
            raise ConfigError(
                "executor.accuracy=fast needs executor.calibration=FOLDER, pictures of what the edge will see; "
                "without, executor=openvino (or auto, with OpenVINO installed)"
            )


@dataclass
class OpenVinoConfig:
    """OpenVINO on the CPU, in float32 unless `accuracy=fast`. Needs the extra `openvino`.

    Attributes:
        threads: of one run; null is as many as PyTorch (`engine.threads`, `cloud.threads`).
        tolerance: largest difference from PyTorch, as a share of a value's largest element; a segment that differs by
            more runs in PyTorch. null is 0.001, and 0.05 with `accuracy=fast`.
        accuracy: `float32` is within `tolerance` of PyTorch; with `bits`, head plus tail have the bits of the whole
            model in this runtime, and a cut where they have not is run as the whole model at the
            edge; `fast` is bfloat16, where the processor has it.
        segments: how many heads and tails stay ready.
    """

    threads: int | None = None
    tolerance: float | None = None
    accuracy: Accuracy = Accuracy.float32
    segments: int = 32

    def __post_init__(self) -> None:
        _check(self.threads, self.tolerance, self.segments)


@dataclass
class AutoConfig:
    """The fastest of PyTorch and the installed runtimes, measured on the whole model at start.

    Attributes:
        threads: of one run; null is as many as PyTorch (`engine.threads`, `cloud.threads`).
        tolerance: largest difference from PyTorch, as a share of a value's largest element; a segment that differs by
            more runs in PyTorch. null is 0.001; with `accuracy=fast` 0.05 in OpenVINO and 0.25 in ONNX Runtime.
        accuracy: `float32` is within `tolerance` of PyTorch; with `bits`, head plus tail have the bits of the whole
            model in this runtime, and a cut where they have not is run as the whole model at the
            edge; `fast` is bfloat16 in OpenVINO, where the processor has it, and 8-bit integers in ONNX Runtime, with
            `calibration`.
        calibration: as for ONNX Runtime.
        segments: how many heads and tails stay ready.
    """

    threads: int | None = None
    tolerance: float | None = None
    accuracy: Accuracy = Accuracy.float32
    calibration: str | None = None
    segments: int = 32

    def __post_init__(self) -> None:
        _check(self.threads, self.tolerance, self.segments)
        _check_calibration(self.accuracy, self.calibration)


@dataclass
class EmulatedClockConfig:
    """An EMULATED edge clock: every run is stretched as if all work took seconds in proportion to 1 / clock.

    On real hardware only core-bound work does that; time spent waiting for memory does not change with the clock.

    Attributes:
        trace: CSV or JSON trace with `clock_mhz`; null follows the clock that another program writes under `root`.
        root: folder for an emulated cpufreq tree; set `telemetry.cpufreq.root` to the same folder.
        max_clock_mhz: the clock at which runs are not stretched, MHz; null is the trace's highest.
        epoch_s: when the trace starts, seconds since the epoch; null is at program start.
        speed: 2 plays the trace twice as fast.
        loop: start the trace again at its end; otherwise its last row holds.
        runtime: what runs the nodes: native, onnxruntime, openvino or auto, with their default settings.
    """

    trace: str | None = MISSING
    root: str = MISSING
    max_clock_mhz: float | None = None
    epoch_s: float | None = None
    speed: float = 1.0
    loop: bool = False
    runtime: str = "native"


def _check(threads: int | None, tolerance: float | None, segments: int) -> None:
    if threads is not None and threads < 1:
        raise ConfigError(f"executor.threads={threads} must be 1 or more, or null")
    if tolerance is not None and not 0.0 < tolerance < math.inf:
        raise ConfigError(f"executor.tolerance={tolerance:g} must be more than 0")
    if segments < 2:
        raise ConfigError(f"executor.segments={segments} must be 2 or more: a head and a tail")


def _check_calibration(accuracy: Accuracy, calibration: str | None) -> None:
    if calibration is not None and accuracy is not Accuracy.fast:
        raise ConfigError(f"executor.calibration is of 8-bit integers: executor.accuracy=fast, not {accuracy}")
