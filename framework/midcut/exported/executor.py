"""The executor of exported models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from midcut.errors import ConfigError

if TYPE_CHECKING:
    from midcut.exported.network import ExportedNetwork
    from midcut.exported.sessions import ReadySegment

FLOAT32: Final = "float32"
_FITTING: Final = ("auto", "onnxruntime")


class ExportedExecutor:
    """Runs an exported model in ONNX Runtime, on the graphs that its folder holds.

    Args:
        network: the model.
        name: of the executor that the config names.
        threads: of one run.
        accuracy: that the config asks for.

    Raises:
        ConfigError: the config names an executor or an accuracy that needs PyTorch, or less than one thread.
    """

    fused = True

    def __init__(self, network: ExportedNetwork, name: str, threads: int, accuracy: str = FLOAT32) -> None:
        if name not in _FITTING:
            raise ConfigError(
                f"executor={name} needs PyTorch; an exported model runs in ONNX Runtime: executor=onnxruntime"
            )
        if accuracy != FLOAT32:
            raise ConfigError(
                f"executor.accuracy={accuracy} needs PyTorch; an exported model has executor.accuracy={FLOAT32}"
            )
        if threads < 1:
            raise ConfigError(f"executor.threads={threads} must be 1 or more, or null")
        self._sessions = network.sessions
        self._sessions.threads = threads
        self.identity = f"onnxruntime {self._sessions.version} {FLOAT32}"

    def prepare(self, network: Any, start: int, stop: int) -> ReadySegment:  # noqa: ARG002 - it runs one network only
        return self._sessions.prepare(start, stop)

    def ready(self, network: Any, start: int, stop: int) -> bool:  # noqa: ARG002 - likewise
        return self._sessions.is_ready(start, stop)

    def close(self) -> None:
        self._sessions.close()
