"""What the executors of foreign runtimes share: segments compiled from one export, checked, and dropped when unused."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import onnx_ir as ir
import structlog
import torch

from midcut.errors import ExecutorError, one_line_cause
from midcut.tensors import largest_error, with_order
from midcut_executors.comparing import TOLERANCE
from midcut_executors.export_cache import cache_folder
from midcut_executors.exported import Exported
from midcut_executors.inputs import noise
from midcut_executors.verifying import CHANGE_TOLERANCE, compare, last_varying_cut

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from midcut.protocols import Network
    from midcut_executors.exported import Part

    Inputs: TypeAlias = Sequence[torch.Tensor]

_Key: TypeAlias = tuple[str, int, int]
_SMALL_BYTES: Final = 512 * 1024 * 1024
_AT_LEAST: Final = 4
_ROUNDING: Final = 1e-5
_CLEAR: Final = 10.0  # times the tolerance: a change in which a wrong runtime cannot hide
_LARGEST_BYTES: Final = 2**31 - 2**24  # of weights in a message of protobuf, beside the graph
_log = structlog.get_logger("midcut.executor")


class Compiled(NamedTuple):
    """A segment that a runtime can run.

    Args:
        run: from arrays to arrays.
        weights: bytes by weight; what segments share has one key. None where it has a copy of each of its weights.
    """

    run: Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]
    weights: Mapping[Hashable, int] | None = None


class RuntimeExecutor:
    """Compiles segments with `compile_model`, which a runtime provides.

    Each segment is compared with PyTorch on the values that cross its first cut when it is made.

    Args:
        identity: runtime, version, precision.
        compile_model: makes an ONNX model runnable.
        tolerance: largest difference from PyTorch, as a share of the largest element of the same value.
        segments: how many of them to keep ready.
        exact: whether a head and its tail must have the bits of the whole model in this runtime.
    """

    def __init__(
        self,
        identity: str,
        compile_model: Callable[[ir.Model], Compiled],
        tolerance: float,
        segments: int,
        *,
        exact: bool = False,
    ) -> None:
        self.identity = identity
        self.fused = True
        self.exact = exact
        self._compile = compile_model
        self.tolerance = tolerance
        self._capacity = segments
        self._segments: OrderedDict[_Key, RuntimeSegment] = OrderedDict()
        self._exports: dict[str, tuple[Exported, Sequence[Inputs]]] = {}
        self._refused: dict[str, str] = {}
        self._varying: dict[str, int] = {}
        self._lock = threading.Lock()
        self._preparing = threading.Lock()

    def prepare(self, network: Network, start: int, stop: int) -> RuntimeSegment:
        key = (network.table.fingerprint, start, stop)
        found = self._find(key)
        if found is not None:
            return found
        with self._preparing:
            found = self._find(key)
            if found is None:
                made = self._make_exact(network, start, stop) if self.exact else {}
                found = made[key] = made.get(key) or self._make(network, start, stop)
                self._add(made)
        return found

    def _add(self, made: Mapping[_Key, RuntimeSegment]) -> None:
        with self._lock:
            self._segments.update(made)
            while len(self._segments) > self._fitting():
                self._segments.popitem(last=False)

    def _make_exact(self, network: Network, start: int, stop: int) -> dict[_Key, RuntimeSegment]:
        """Make a head and the tail that goes with it, or the reverse, and compare them with the whole model.

        Raises:
            ExecutorError: they give other bits.
        """
        last = network.table.last
        cut = stop if start == 0 else start if stop == last else last
        if cut in (0, last):
            return {}
        inputs = self._export(network)[1][0]
        chain = {}
        for ends in ((0, last), (0, cut), (cut, last)):
            key = (network.table.fingerprint, *ends)
            chain[key] = self._find(key) or self._make(network, *ends)
        whole, head, tail = chain.values()
        try:
            expected = whole.run(inputs)[0]
        except Exception:  # noqa: BLE001 - the model takes no noise, such as indices
            return chain
        error = largest_error(tail.run(head.run(inputs)[0])[0], expected)
        if error:
            raise ExecutorError(
                f"head plus tail at cut {cut} differ from the whole by {error:.1e} of the largest element, "
                "executor.accuracy=bits"
            )
        return chain

    def samples(self, network: Network) -> Sequence[Inputs]:
        """The inputs on which segments of a network are compared with PyTorch.

        Raises:
            ExecutorError: PyTorch cannot export it.
        """
        return self._export(network)[1]

    def ready(self, network: Network, start: int, stop: int) -> bool:
        return (network.table.fingerprint, start, stop) in self._segments

    def drop(self, network: Network) -> None:
        """Forget what is known of a network that runs no more: what refused it then, as a full disk, may be over."""
        with self._preparing, self._lock:
            for known in (self._refused, self._varying):
                known.pop(network.table.fingerprint, None)
            for key in [key for key in self._segments if key[0] == network.table.fingerprint]:
                del self._segments[key]
            self._exports.pop(network.table.fingerprint, None)

    def close(self) -> None:
        with self._lock:
            self._segments.clear()
            self._exports.clear()

    def _find(self, key: _Key) -> RuntimeSegment | None:
        with self._lock:
            found = self._segments.get(key)
            if found is not None:
                self._segments.move_to_end(key)
            return found

    def _fitting(self) -> int:
        """How many of the newest segments to keep: all four of two cuts, and more while their weights take little."""
        newest = [segment.weights for segment in reversed(self._segments.values())]
        largest = sorted(newest, key=lambda weights: sum(weights.values()))[-_AT_LEAST:]
        limit = max(_SMALL_BYTES, list(_bytes_together(largest))[-1])
        fitting = sum(size <= limit for size in _bytes_together(newest))
        return min(max(fitting, _AT_LEAST), self._capacity)

    def _make(self, network: Network, start: int, stop: int) -> RuntimeSegment:
        export, samples = self._export(network)
        try:
            segment = self._segment(network, export.part(start, stop))
        except ExecutorError:
            raise
        except Exception as error:  # runtimes raise classes of their own
            raise ExecutorError(
                f"{self.identity} does not take nodes {start} to {stop}: {one_line_cause(error)}"
            ) from error
        finally:
            export.unmap()
        self._verify(network, start, stop, segment, samples)
        _return_memory()
        return segment

    def _segment(self, network: Network, part: Part) -> RuntimeSegment:
        if part.model is None:
            return RuntimeSegment(part, None, 0)
        weight_bytes = _weight_bytes(part.model)
        try:
            compiled = self._compile_part(network, part.model)
        finally:
            _forget_weights(part.model)
        return RuntimeSegment(replace(part, model=None), compiled, weight_bytes)

    def _compile_part(self, network: Network, model: ir.Model) -> Compiled:  # noqa: ARG002 - it may depend on it
        return self._compile(model)

    def _samples(self, network: Network, export: Exported) -> Sequence[Inputs]:  # noqa: ARG002 - likewise
        """Inputs on which segments are compared with PyTorch."""
        return [noise(network)]

    def _export(self, network: Network) -> tuple[Exported, Sequence[Inputs]]:
        key = network.table.fingerprint
        if key in self._refused:
            raise ExecutorError(self._refused[key])
        if key in self._exports and not self._exports[key][0].is_there:
            _log.warning("ONNX export in the cache is made anew", model=network.table.model, reason="it is gone")
            del self._exports[key]
        if key not in self._exports:
            began = time.perf_counter()
            _log.info("exporting to ONNX, unless the cache has it", model=network.table.model)
            try:
                export = Exported(network, cache_folder())
            except ExecutorError as error:  # the next cut need not wait for the same end
                self._refused[key] = str(error)
                raise
            _log.info("ONNX export ready", model=network.table.model, took_s=round(time.perf_counter() - began, 2))
            self._exports[key] = export, self._samples(network, export)
        return self._exports[key]

    def _verify(
        self,
        network: Network,
        start: int,
        stop: int,
        segment: RuntimeSegment,
        samples: Sequence[Inputs],
    ) -> None:
        """Compare a segment with PyTorch.

        Raises:
            ExecutorError: they differ by more than the tolerance, or follow what they are given differently.
        """
        found = compare(network, start, stop, segment, samples)
        if found is None:
            return
        if not found.error <= self.tolerance:
            raise ExecutorError(
                f"{self.identity} differs from PyTorch by {found.error:.1e} of the largest element, "
                f"executor.tolerance is {self.tolerance:g}"
            )
        rounding = _ROUNDING if self.tolerance <= TOLERANCE else self.tolerance
        whole = start == 0 and stop == network.table.last
        if found.change <= rounding:
            if stop == network.table.last:
                self._compare_before(network, start, samples[0], warn=whole)
        elif not found.change_error <= max(CHANGE_TOLERANCE, 2.0 * self.tolerance) + rounding / found.change:
            raise ExecutorError(
                f"{self.identity} does not follow its input as PyTorch does: the output changes by {found.change:.1e} "
                f"of its largest element, and {found.change_error:.1e} of that differently"
            )
        if whole:
            _log.info(
                "executor compared with PyTorch", model=network.table.model, executor=self.identity, error=found.error
            )

    def _compare_before(self, network: Network, start: int, inputs: Inputs, *, warn: bool) -> None:
        """Compare the nodes up to the last cut whose values depend on the input, where the output does not.

        Raises:
            ExecutorError: they differ.
        """
        key = network.table.fingerprint
        if key not in self._varying:
            try:
                self._varying[key] = last_varying_cut(network, inputs, _CLEAR * self.tolerance)
            except Exception:  # noqa: BLE001 - a model that takes no mirrored inputs
                self._varying[key] = 0
        cut = self._varying[key]
        if warn:
            done = f"it is compared at cut {cut}, too" if cut else "no cut has values that do, so this proves little"
            _log.warning(f"the model's output hardly depends on its input: {done}", model=network.table.model)
        if cut > start:
            self._make(network, start, cut)


class RuntimeSegment:
    """Consecutive nodes in a foreign runtime."""

    def __init__(self, part: Part, compiled: Compiled | None, weight_bytes: int) -> None:
        self._part, self._compiled = part, compiled
        shared = None if compiled is None else compiled.weights
        self.weights: Mapping[Hashable, int] = {object(): weight_bytes} if shared is None else shared

    def run(self, values: Sequence[Any]) -> tuple[Sequence[Any], float]:
        began = time.perf_counter()
        part = self._part
        computed: Sequence[Any] = ()
        if self._compiled is not None:
            arrays = self._compiled.run([_to_numpy(values[position]) for position in part.inputs])
            computed = [torch.from_numpy(array if array.flags.writeable else array.copy()) for array in arrays]
            for number in part.ints:
                computed[number] = int(arrays[number])
            for number, order in part.orders.items():
                computed[number] = with_order(computed[number], order)
        result = tuple(
            values[position] if position is not None else computed[output if output is not None else 0]
            for output, position in zip(part.outputs, part.passed, strict=True)
        )
        return result, time.perf_counter() - began


def onnx_source(model: ir.Model, folder: Path) -> bytes | str:
    """What a runtime reads a graph from: its bytes, or a file, with its weights beside it where these are too large.

    Args:
        folder: where the file may be written.
    """
    if _weight_bytes(model) < _LARGEST_BYTES:
        message: bytes = ir.to_proto(ir.external_data.load_to_model(model)).SerializeToString()
        return message
    path = folder / "given.onnx"
    ir.save(model, path, external_data="given.weights")
    return str(path)


def _bytes_together(weights_of_each: Iterable[Mapping[Hashable, int]]) -> Iterator[int]:
    """Bytes of the first segment, of the first two, and so on; what they share counts once."""
    together: dict[Hashable, int] = {}
    for weights in weights_of_each:
        together |= weights
        yield sum(together.values())


def _weight_bytes(model: ir.Model) -> int:
    weights = (value.const_value for value in model.graph.initializers.values())
    return sum(weight.nbytes for weight in weights if weight is not None)


def _forget_weights(model: ir.Model) -> None:
    """Release the weights of a graph now: its nodes are cycles, which may stay for long once they have grown old."""
    for value in model.graph.initializers.values():
        value.const_value = None


def _to_numpy(value: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = value.detach().contiguous().numpy()
    return array


def _return_memory() -> None:
    """Give freed memory back to the system: graphs are cycles, and glibc keeps what compiling a segment took."""
    gc.collect(1)  # a segment's graph is young; all of the process's objects would take a third of a second
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
