"""Executors by name, without importing a runtime that is not chosen, and the choice of the fastest one."""

from __future__ import annotations

import importlib.util
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from midcut.errors import ConfigError, MidcutError
from midcut_executors.config import Accuracy, AutoConfig, OnnxRuntimeConfig, OpenVinoConfig
from midcut_executors.inputs import noise
from midcut_executors.native import Native

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.protocols import Executor, Network, Segment

_NEEDED: Final = {
    "onnxruntime": (("onnxruntime", "onnx", "onnxscript"), "onnx"),
    "openvino": (("openvino", "onnx", "onnxscript"), "openvino"),
}
_ROUNDS: Final = 7
_LEAST_ROUNDS: Final = 3
_LONGEST_S: Final = 3.0
_WORTH_IT: Final = 0.95
_log = structlog.get_logger("midcut.executor")


def onnxruntime(**knobs: Any) -> Executor:
    """Make the executor of ONNX Runtime; PyTorch's, with one line in the log, where the extra is not installed.

    Raises:
        ConfigError: a knob is out of bounds.
    """
    OnnxRuntimeConfig(**knobs)  # checks the bounds
    if _lacks("onnxruntime"):
        return Native()
    from midcut_executors.onnxruntime import OnnxRuntime  # noqa: PLC0415 - only where it is chosen

    return OnnxRuntime(**knobs)


def openvino(**knobs: Any) -> Executor:
    """Make the executor of OpenVINO; PyTorch's, with one line in the log, where the extra is not installed.

    Raises:
        ConfigError: a knob is out of bounds.
    """
    OpenVinoConfig(**knobs)  # checks the bounds
    if _lacks("openvino"):
        return Native()
    from midcut_executors.openvino import OpenVino  # noqa: PLC0415 - only where it is chosen

    return OpenVino(**knobs)


def by_name(name: str, accuracy: Accuracy = Accuracy.float32) -> Executor:
    """Make an executor whose other knobs have their defaults.

    Raises:
        ConfigError: there is none of that name, or it does not have that accuracy.
    """
    knobs: dict[str, Any] = {"threads": None, "tolerance": None, "segments": 32, "accuracy": accuracy}
    makers: dict[str, Callable[[], Executor]] = {
        "native": Native,
        "onnxruntime": lambda: onnxruntime(**knobs),
        "openvino": lambda: openvino(**knobs),
        "auto": lambda: Auto(**knobs),
    }
    if name not in makers:
        raise ConfigError(f"executor.runtime={name!r} must be one of {', '.join(makers)}")
    return makers[name]()


class Auto:
    """Measures the whole model in PyTorch and in each installed runtime, and uses the fastest for all its segments."""

    def __init__(
        self,
        threads: int | None,
        tolerance: float | None,
        segments: int,
        accuracy: Accuracy = Accuracy.float32,
    ) -> None:
        AutoConfig(threads, tolerance, accuracy, segments)  # checks the bounds
        knobs: dict[str, Any] = {"threads": threads, "tolerance": tolerance, "segments": segments, "accuracy": accuracy}
        self._candidates: list[Executor] = [Native()]
        if not missing("onnxruntime"):
            slower = Accuracy.float32 if accuracy is Accuracy.fast else accuracy
            self._candidates.append(onnxruntime(**knobs | {"accuracy": slower}))
        if not missing("openvino"):
            self._candidates.append(openvino(**knobs))
        self._chosen: dict[str, Executor] = {}

    @property
    def identity(self) -> str:
        chosen = sorted({executor.identity for executor in self._chosen.values()})
        return ", ".join(chosen) or "auto, not chosen yet"

    @property
    def fused(self) -> bool:
        """Whether a runtime was chosen that merges nodes; known once a network was prepared."""
        return any(getattr(executor, "fused", False) for executor in self._chosen.values())

    @property
    def exact(self) -> bool:
        """Whether the chosen runtime has to keep the bits of the whole model."""
        return any(getattr(executor, "exact", False) for executor in self._chosen.values())

    def prepare(self, network: Network, start: int, stop: int) -> Segment:
        key = network.table.fingerprint
        if key not in self._chosen:
            self._chosen[key] = self._fastest(network)
        return self._chosen[key].prepare(network, start, stop)

    def ready(self, network: Network, start: int, stop: int) -> bool:
        chosen = self._chosen.get(network.table.fingerprint)
        return chosen is not None and chosen.ready(network, start, stop)

    def close(self) -> None:
        for executor in self._candidates:
            executor.close()

    def _fastest(self, network: Network) -> Executor:
        if len(self._candidates) == 1:
            why = "no other runtime is installed: pip install 'midcut[onnx]'"
            _log.info("executor chosen", model=network.table.model, executor=self._candidates[0].identity, reason=why)
            return self._candidates[0]
        segments: dict[str, Segment] = {}
        inputs = noise(network)
        for executor in self._candidates:
            try:
                segment = executor.prepare(network, 0, network.table.last)
                segment.run(inputs)
            except Exception as error:  # noqa: BLE001 - a runtime may raise anything; PyTorch is left
                reason = str(error) if isinstance(error, MidcutError) else f"{type(error).__name__}: {error}"
                _log.warning("not considered", executor=executor.identity, reason=" ".join(reason.split())[:300])
            else:
                segments[executor.identity] = segment
        if self._candidates[0].identity not in segments:
            return self._candidates[0]
        seconds = _median_seconds(segments, inputs)
        torch_s = seconds[self._candidates[0].identity]
        best = min(seconds, key=seconds.__getitem__)
        if seconds[best] > _WORTH_IT * torch_s:  # PyTorch keeps every bit
            best = self._candidates[0].identity
        _log.info(
            "executor chosen",
            model=network.table.model,
            executor=best,
            reason=f"{seconds[best] / torch_s:.2f} of the time of PyTorch",
            milliseconds={name: round(value * 1e3, 3) for name, value in seconds.items()},
        )
        chosen = next(executor for executor in self._candidates if executor.identity == best)
        for executor in self._candidates:
            if executor is not chosen and executor not in self._chosen.values():
                executor.close()  # frees what it made ready; it can be used again
        return chosen


def _median_seconds(segments: Mapping[str, Segment], inputs: Sequence[Any]) -> dict[str, float]:
    """Seconds of each segment on one noise image; they take turns."""
    measured: dict[str, list[float]] = {name: [] for name in segments}
    began = time.perf_counter()
    for number in range(1 + _ROUNDS):
        for name, segment in segments.items():
            seconds = segment.run(inputs)[1]
            if number:  # the first run of each is slower
                measured[name].append(seconds)
        if number >= _LEAST_ROUNDS and time.perf_counter() - began > _LONGEST_S:
            break
    return {name: statistics.median(values) for name, values in measured.items()}


def missing(name: str) -> list[str]:
    """The packages that an executor needs and that are not installed."""
    return [package for package in _NEEDED[name][0] if importlib.util.find_spec(package) is None]


def _lacks(name: str) -> bool:
    """Whether an executor's packages are missing, which is logged: a device that was set up otherwise still answers."""
    absent = missing(name)
    if absent:
        command = f"pip install 'midcut[{_NEEDED[name][1]}]'"
        _log.warning(
            f"executor={name} needs {', '.join(absent)}, not installed here: PyTorch runs the model", better=command
        )
    return bool(absent)
