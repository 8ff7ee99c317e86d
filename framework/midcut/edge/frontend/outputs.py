"""Sends results to the outputs. None of them, slow or failing, ever holds up an inference."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midcut.protocols import Output

_log = structlog.get_logger("midcut.outputs")
_WAITING: Final = 256
_LAST_RESULTS_S: Final = 15.0


class Outputs:
    """Each output has a thread and a short queue of its own; a result that finds the queue full is dropped.

    Args:
        outputs: name -> output.
    """

    def __init__(self, outputs: Mapping[str, Output]) -> None:
        self._channels = [_Channel(name, output) for name, output in outputs.items()]

    @property
    def emit_each(self) -> Callable[[Mapping[str, Any]], None] | None:
        """`emit`, or None where there is no output."""
        return self.emit if self._channels else None

    def emit(self, result: Mapping[str, Any]) -> None:
        """Hand a result, as JSON fields, to every output. Never blocks."""
        for channel in self._channels:
            channel.put(result)

    def counts(self) -> dict[str, dict[str, int]]:
        """Output -> how many results were `written`, `failed` and `dropped`."""
        return {channel.name: dict(channel.counts) for channel in self._channels}

    def close(self) -> None:
        """Wait a little for what is queued, then close every output."""
        for channel in self._channels:
            channel.end()
        for channel in self._channels:
            channel.join()


class _Channel:
    def __init__(self, name: str, output: Output) -> None:
        self.name = name
        self.counts = {"written": 0, "failed": 0, "dropped": 0}
        self._output = output
        self._queue: queue.Queue[Mapping[str, Any] | None] = queue.Queue(_WAITING)
        self._failing = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"output {name}", daemon=True)
        self._thread.start()

    def put(self, result: Mapping[str, Any]) -> None:
        try:
            self._queue.put_nowait(result)
        except queue.Full:
            self.counts["dropped"] += 1

    def end(self) -> None:
        self._ending.set()
        with contextlib.suppress(queue.Full):  # then the thread sees `_ending` when the queue is empty
            self._queue.put_nowait(None)

    def join(self) -> None:
        self._thread.join(_LAST_RESULTS_S)
        if self._thread.is_alive():
            _log.warning("output still busy, its last results are lost", output=self.name)
        elif self.counts["failed"] or self.counts["dropped"]:
            _log.warning("results did not reach an output", output=self.name, **self.counts)

    def _run(self) -> None:
        while True:
            try:
                result = self._queue.get(timeout=0.2)
            except queue.Empty:
                if self._ending.is_set():
                    break
                continue
            if result is None:
                break
            self._write(result)
        try:
            self._output.close()
        except OSError as error:
            _log.warning("output failed to close", output=self.name, error=str(error))
        except Exception:  # noqa: BLE001 - a plugin's output may raise anything
            _log.exception("output failed to close", output=self.name)

    def _write(self, result: Mapping[str, Any]) -> None:
        try:
            self._output.write(result)
        except Exception as error:  # noqa: BLE001 - likewise
            self.counts["failed"] += 1
            if not self._failing:
                self._failing = True
                _log.warning("output fails", output=self.name, error=f"{type(error).__name__}: {error}")
        else:
            self.counts["written"] += 1
            if self._failing:
                self._failing = False
                _log.info("output works again", output=self.name)
