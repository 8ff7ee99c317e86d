"""Sessions of ONNX Runtime for the segments of an exported model, which share one copy of each weight."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from midcut.errors import ExecutorError, GraphError
from midcut.exported.arena import use_shared_arena
from midcut.tensors import dense, to_numpy, with_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.exported.folder import ExportedFolder
    from midcut.exported.manifest import SavedSegment, Weight

_CAPACITY: Final = 32


class Sessions:
    """Makes segments ready, and keeps those that were used last. Several threads may use it at once.

    Args:
        folder: of the model.

    Raises:
        ExecutorError: ONNX Runtime is not installed.
        GraphError: the folder was changed after it was checked.
    """

    def __init__(self, folder: ExportedFolder) -> None:
        try:
            import onnxruntime  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ExecutorError(f"an exported model runs in ONNX Runtime: pip install onnxruntime ({error})") from None
        self._ort: Any = onnxruntime
        self.version: str = onnxruntime.__version__
        self.threads = 1
        self._folder = folder
        self._saved = {(segment.start, segment.stop): segment for segment in folder.manifest.saved.segments}
        self._bytes = folder.weights()
        folder.check_unchanged()  # what is mapped now is what was checked
        # What runs where nothing else does, also after the folder has changed.
        self._whole = (0, folder.manifest.table.last)
        self._weights: dict[int, Any] = {}
        self._ready: OrderedDict[tuple[int, int], ReadySegment] = OrderedDict()
        self._lock, self._preparing = threading.Lock(), threading.Lock()

    def prepare(self, start: int, stop: int) -> ReadySegment:
        """Return a segment, made ready if it is not.

        Raises:
            ExecutorError: the folder has no such segment, or ONNX Runtime does not take it, or the folder was changed
                after it was loaded, so that its graphs may no longer fit the weights that are mapped.
        """
        with self._lock:
            found = self._ready.get((start, stop))
            if found is not None:
                self._ready.move_to_end((start, stop))
                return found
        with self._preparing:
            found = self._ready.get((start, stop)) or self._make(start, stop)
            with self._lock:
                self._ready[start, stop] = found
                while len(self._ready) > _CAPACITY:
                    del self._ready[next(key for key in self._ready if key != self._whole)]
        return found

    def is_ready(self, start: int, stop: int) -> bool:
        return (start, stop) in self._ready

    def close(self) -> None:
        with self._lock:
            self._ready.clear()

    def _make(self, start: int, stop: int) -> ReadySegment:
        saved = self._saved.get((start, stop))
        if saved is None:
            raise ExecutorError(f"the exported model has no segment from cut {start} to cut {stop}")
        if not saved.graph:
            return ReadySegment(saved, None)
        try:
            self._folder.check_unchanged()
            options = self._options(pack=saved.pack)
            for name, number in saved.weights.items():
                options.add_initializer(name, self._weight(number))
            graph = self._folder.graph(saved.graph)
            session = self._ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            self._folder.check_unchanged()  # ONNX Runtime reads weights from the folder, too
        except GraphError as error:
            raise ExecutorError(str(error)) from None
        except Exception as error:  # ONNX Runtime raises classes of its own
            reason = " ".join(str(error).split())[:300]
            raise ExecutorError(f"ONNX Runtime does not take nodes {start} to {stop}: {reason}") from error
        return ReadySegment(saved, session)

    def _weight(self, number: int) -> Any:
        if number not in self._weights:
            array = _view(self._bytes, self._folder.manifest.saved.weights[number])
            self._weights[number] = self._ort.OrtValue.ortvalue_from_numpy(array)
        return self._weights[number]

    def _options(self, *, pack: bool) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle threads that wait in a busy loop would take the processor from the link and the planner.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        use_shared_arena(options)
        # Sessions use the weights where they are, in the mapped file: a weight that is packed, or given as an external
        # initializer, is copied by each session.
        options.add_session_config_entry("session.disable_prepacking", str(int(not pack)))
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self._folder.path))
        return options


class ReadySegment:
    """Consecutive nodes of an exported model, ready to run. Several threads may use it at once."""

    def __init__(self, saved: SavedSegment, session: Any) -> None:
        self._saved, self._session = saved, session
        self._names = [] if session is None else [value.name for value in session.get_inputs()]

    def compute(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """The values at the segment's last cut, of those at its first."""
        computed: list[Any] = []
        if self._session is not None:
            arrays = [to_numpy(dense(values[position])) for position in self._saved.inputs]
            computed = self._session.run(None, dict(zip(self._names, arrays, strict=True)))
            for number in self._saved.ints:
                computed[number] = int(computed[number])
            for number, order in self._saved.orders.items():
                computed[number] = with_order(computed[number], order)
        return tuple(
            values[position] if position is not None else computed[output if output is not None else 0]
            for output, position in zip(self._saved.outputs, self._saved.passed, strict=True)
        )

    def run(self, values: Sequence[Any]) -> tuple[Sequence[Any], float]:
        """As `midcut.protocols.Segment.run`."""
        began = perf_counter()
        return self.compute(values), perf_counter() - began


def _view(content: np.ndarray[Any, np.dtype[np.uint8]], weight: Weight) -> Any:
    dtype = np.dtype(weight.dtype)
    size = math.prod(weight.shape) * dtype.itemsize
    return np.asarray(content[weight.offset : weight.offset + size]).view(dtype).reshape(weight.shape)
