"""Executors by name, without importing a runtime that is not chosen, and the choice of the fastest one."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import structlog

from midcut.errors import ConfigError
from midcut.profiles import forget_speeds, speeds_of
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
_WORTH_IT: Final = 0.95
_log = structlog.get_logger("midcut.executor")


def onnxruntime(**settings: Any) -> Executor:
    """Make the executor of ONNX Runtime; PyTorch's, with one line in the log, where the extra is not installed.

    Raises:
        ConfigError: a setting is out of bounds.
    """
    OnnxRuntimeConfig(**settings)  # checks the bounds
    if _lacks("onnxruntime"):
        return Native()
    from midcut_executors.onnxruntime import OnnxRuntime  # noqa: PLC0415 - only where it is chosen

    return OnnxRuntime(**settings)


def openvino(**settings: Any) -> Executor:
    """Make the executor of OpenVINO; PyTorch's, with one line in the log, where the extra is not installed.

    Raises:
        ConfigError: a setting is out of bounds.
    """
    OpenVinoConfig(**settings)  # checks the bounds
    if _lacks("openvino"):
        return Native()
    from midcut_executors.openvino import OpenVino  # noqa: PLC0415 - only where it is chosen

    return OpenVino(**settings)


def by_name(name: str, accuracy: Accuracy = Accuracy.float32, calibration: str | None = None) -> Executor:
    """Make an executor whose other settings have their defaults.

    Raises:
        ConfigError: there is none of that name, or it does not have that accuracy.
    """
    settings: dict[str, Any] = {"threads": None, "tolerance": None, "segments": 32, "accuracy": accuracy}
    makers: dict[str, Callable[[], Executor]] = {
        "native": Native,
        "onnxruntime": lambda: onnxruntime(**settings, calibration=calibration),
        "openvino": lambda: openvino(**settings),
        "auto": lambda: Auto(**settings, calibration=calibration),
    }
    if name not in makers:
        raise ConfigError(f"executor.runtime={name!r} must be one of {', '.join(makers)}")
    return makers[name]()


@runtime_checkable
class _Sampled(Protocol):
    def samples(self, network: Network) -> Sequence[Sequence[Any]]: ...


class Auto:
    """Measures the whole model in PyTorch and in each installed runtime, and uses the fastest for all its segments."""

    def __init__(
        self,
        threads: int | None,
        tolerance: float | None,
        segments: int,
        accuracy: Accuracy = Accuracy.float32,
        calibration: str | None = None,
    ) -> None:
        AutoConfig(threads, tolerance, accuracy, calibration, segments)  # checks the bounds
        settings: dict[str, Any] = {
            "threads": threads,
            "tolerance": tolerance,
            "segments": segments,
            "accuracy": accuracy,
        }
        self._candidates: list[Executor] = [Native()]
        if not missing("onnxruntime"):
            in_float32 = accuracy is Accuracy.fast
            self._candidates.append(onnxruntime(**settings | ({"accuracy": Accuracy.float32} if in_float32 else {})))
            if calibration is not None:
                self._candidates.append(onnxruntime(**settings, calibration=calibration))
        if not missing("openvino"):
            self._candidates.append(openvino(**settings))
        self._chosen: dict[str, Executor] = {}

    @property
    def identity(self) -> str:
        chosen = sorted({executor.identity for executor in self._chosen.values()})
        return ", ".join(chosen) or "auto, not chosen yet"

    @property
    def conditions(self) -> str:
        """Of the chosen executors."""
        return "; ".join(sorted({getattr(executor, "conditions", "") for executor in self._chosen.values()}))

    @property
    def tolerance(self) -> float | None:
        """Of the chosen runtime; None for PyTorch."""
        return next((getattr(executor, "tolerance", None) for executor in self._chosen.values()), None)

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

    def samples(self, network: Network) -> Sequence[Sequence[Any]]:
        """The inputs on which the chosen runtime is compared with PyTorch."""
        chosen = self._chosen[network.table.fingerprint]
        found: Sequence[Sequence[Any]] = chosen.samples(network) if isinstance(chosen, _Sampled) else [noise(network)]
        return found

    def ready(self, network: Network, start: int, stop: int) -> bool:
        chosen = self._chosen.get(network.table.fingerprint)
        return chosen is not None and chosen.ready(network, start, stop)

    def drop(self, network: Network) -> None:
        """Forget the choice and the segments of a network that runs no more."""
        self._chosen.pop(network.table.fingerprint, None)
        for executor in self._candidates:
            drop = getattr(executor, "drop", None)  # PyTorch's prepares nothing
            if drop is not None:
                drop(network)

    def close(self) -> None:
        for executor in self._candidates:
            executor.close()

    def _fastest(self, network: Network, *, again: bool = True) -> Executor:
        if len(self._candidates) == 1:
            why = "no other runtime is installed: pip install 'midcut[onnx]'"
            _log.info("executor chosen", model=network.table.model, executor=self._candidates[0].identity, reason=why)
            return self._candidates[0]
        speeds = speeds_of(network, noise(network), self._candidates)
        for identity, reason in speeds.refused.items():
            _log.warning("not considered", executor=identity, reason=reason)
        in_torch = self._candidates[0]
        if in_torch.identity not in speeds.seconds:
            return in_torch
        chosen = self._best(speeds.seconds)
        if again and speeds.file is not None and not _works(chosen, network):
            forget_speeds(network)
            return self._fastest(network, again=False)
        ratio = speeds.seconds[chosen.identity] / speeds.seconds[in_torch.identity]
        _log.info(
            "executor chosen",
            model=network.table.model,
            executor=chosen.identity,
            reason=f"{ratio:.2f} of the time of PyTorch",
            milliseconds={name: round(value * 1e3, 3) for name, value in speeds.seconds.items()},
            measured="now" if speeds.file is None else f"at an earlier start: {speeds.file}",
        )
        for executor in self._candidates:
            if executor is not chosen and executor not in self._chosen.values():
                executor.close()  # frees what it made ready; it can be used again
        return chosen

    def _best(self, seconds: Mapping[str, float]) -> Executor:
        """The fastest; PyTorch, which keeps every bit, where that is little slower."""
        best = min(seconds, key=seconds.__getitem__)
        if seconds[best] > _WORTH_IT * seconds[self._candidates[0].identity]:
            return self._candidates[0]
        return next(executor for executor in self._candidates if executor.identity == best)


def _works(executor: Executor, network: Network) -> bool:
    try:
        executor.prepare(network, 0, network.table.last)
    except Exception:  # noqa: BLE001 - a runtime may raise anything; it is measured again
        return False
    return True


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
