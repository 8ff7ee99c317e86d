"""Executors by name, without importing a runtime that is not chosen, and the choice of the fastest one."""

from __future__ import annotations

import importlib.util
import statistics
from typing import TYPE_CHECKING, Any, Final

import structlog
import torch

from midcut.errors import ConfigError, MidcutError
from midcut_executors.config import AutoConfig, OnnxRuntimeConfig, OpenVinoConfig, Precision
from midcut_executors.native import Native

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.protocols import Executor, Network, Segment

_NEEDED: Final = {
    "onnxruntime": (("onnxruntime", "onnx", "onnxscript"), "onnx"),
    "openvino": (("openvino", "onnx", "onnxscript"), "openvino"),
}
_ROUNDS: Final = 7
_log = structlog.get_logger("midcut.executor")


def onnxruntime(**knobs: Any) -> Executor:
    """Make the executor of ONNX Runtime.

    Raises:
        ConfigError: a knob is out of bounds, or the extra is not installed.
    """
    OnnxRuntimeConfig(**knobs)  # checks the bounds
    _check_installed("onnxruntime")
    from midcut_executors.onnxruntime import OnnxRuntime  # noqa: PLC0415 - only where it is chosen

    return OnnxRuntime(**knobs)


def openvino(**knobs: Any) -> Executor:
    """Make the executor of OpenVINO.

    Raises:
        ConfigError: a knob is out of bounds, or the extra is not installed.
    """
    OpenVinoConfig(**knobs)  # checks the bounds
    _check_installed("openvino")
    from midcut_executors.openvino import OpenVino  # noqa: PLC0415 - only where it is chosen

    return OpenVino(**{**knobs, "precision": str(knobs["precision"])})


def by_name(name: str) -> Executor:
    """Make an executor with its default knobs.

    Raises:
        ConfigError: there is none of that name, or its extra is not installed.
    """
    knobs: dict[str, Any] = {"threads": None, "tolerance": 1e-3, "segments": 32}
    makers: dict[str, Callable[[], Executor]] = {
        "native": Native,
        "onnxruntime": lambda: onnxruntime(**knobs),
        "openvino": lambda: openvino(precision=Precision.f32, **knobs),
        "auto": lambda: Auto(**knobs),
    }
    if name not in makers:
        raise ConfigError(f"executor.runtime={name!r} must be one of {', '.join(makers)}")
    return makers[name]()


class Auto:
    """Measures the whole model in PyTorch and in each installed runtime, and uses the fastest for all its segments."""

    def __init__(self, threads: int | None, tolerance: float, segments: int) -> None:
        AutoConfig(threads, tolerance, segments)  # checks the bounds
        knobs: dict[str, Any] = {"threads": threads, "tolerance": tolerance, "segments": segments}
        self._candidates: list[Executor] = [Native()]
        if not missing("onnxruntime"):
            self._candidates.append(onnxruntime(**knobs))
        if not missing("openvino"):
            self._candidates.append(openvino(precision=Precision.f32, **knobs))
        self._chosen: dict[str, Executor] = {}

    @property
    def identity(self) -> str:
        chosen = sorted({executor.identity for executor in self._chosen.values()})
        return ", ".join(chosen) or "auto, not chosen yet"

    @property
    def fused(self) -> bool:
        """Whether a runtime was chosen that merges nodes; known once a network was prepared."""
        return any(getattr(executor, "fused", False) for executor in self._chosen.values())

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
            return self._candidates[0]
        specs = network.table.cuts[0].values
        inputs = [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs]
        seconds: dict[str, float] = {}
        segments: dict[str, Segment] = {}
        for executor in self._candidates:
            try:
                segments[executor.identity] = executor.prepare(network, 0, network.table.last)
            except MidcutError as error:
                _log.warning("not considered", executor=executor.identity, reason=str(error)[:300])
        measured: dict[str, list[float]] = {name: [] for name in segments}
        for _ in range(_ROUNDS):
            for name, segment in segments.items():
                measured[name].append(segment.run(inputs)[1])
        seconds = {name: statistics.median(values) for name, values in measured.items()}
        best = min(seconds, key=seconds.__getitem__)
        _log.info(
            "executor chosen",
            model=network.table.model,
            executor=best,
            milliseconds={name: round(value * 1e3, 3) for name, value in seconds.items()},
        )
        return next(executor for executor in self._candidates if executor.identity == best)


def missing(name: str) -> list[str]:
    """The packages that an executor needs and that are not installed."""
    return [package for package in _NEEDED[name][0] if importlib.util.find_spec(package) is None]


def _check_installed(name: str) -> None:
    absent = missing(name)
    if absent:
        raise ConfigError(
            f"executor={name} needs {', '.join(absent)}, not installed here: pip install 'midcut[{_NEEDED[name][1]}]'"
        )
