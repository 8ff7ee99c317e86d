"""One ONNX export of a network that serves every cut, and the part of it between two cuts."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import onnx_ir as ir
import torch
from onnx_ir.convenience import extract
from onnxscript import optimizer

from midcut.errors import ExecutorError, root_cause
from midcut_executors.export_cache import ExportCache, Index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midcut.protocols import Network
    from midcut.types import Traceable, ValueSpec

OPSET: Final = 20


@dataclass(frozen=True)
class Part:
    """The nodes between two cuts as an ONNX model.

    Attributes:
        model: None where no value is computed between the cuts; its weights may still be in the export's file.
        inputs: position among the values at the first cut, for each input of the model.
        outputs: for each value at the last cut the number of the model's output, or None.
        passed: for each value at the last cut its position at the first cut if it is unchanged, or None.
        ints: the outputs of the model that are numbers at the last cut, as tensors without dimensions.
        orders: output of the model -> order of its dimensions in memory that later nodes rely on.
    """

    model: ir.Model | None
    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...]
    passed: tuple[int | None, ...]
    ints: tuple[int, ...] = ()
    orders: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


class Exported:
    """The export of one network, made at first use or read from the cache.

    Args:
        folder: of the cache.

    Raises:
        ExecutorError: PyTorch cannot export the network.
    """

    def __init__(self, network: Network, folder: Path) -> None:
        _quiet()
        cache = ExportCache(folder, network.table.model, network.table.fingerprint)
        self._index = index = cache.read() or _export(network, cache)
        self._cache = cache  # it may hold a temporary folder
        self._names, self._orders = index.names, index.orders
        self._cuts = network.table.cuts
        self._model = ir.load(cache.model_file)
        self._values = {str(output.name): _source(output) for output in self._model.graph.outputs}
        self._lock = threading.Lock()

    @property
    def model_file(self) -> Path:
        """The whole network, whose outputs are the values of all cuts."""
        return self._cache.model_file

    @property
    def is_there(self) -> bool:
        """Whether its files still are in the cache."""
        return self._cache.holds(self._index)

    @property
    def copies(self) -> Mapping[str, str]:
        """Output of the whole network -> name of the value in a part that it is a copy of."""
        return {name: str(value.name) for name, value in self._values.items()}

    def unmap(self) -> None:
        """Unmap the file of weights, but for those in use. It is mapped again when one is read."""
        with self._lock:
            for value in self._model.graph.initializers.values():
                if isinstance(value.const_value, ir.ExternalTensor):
                    with contextlib.suppress(BufferError):
                        value.const_value.release()

    def part(self, start: int, stop: int) -> Part:
        """Extract and simplify the nodes between two cuts.

        Raises:
            ExecutorError: a value that crosses one of the cuts cannot be a value of an ONNX graph, or the nodes need
                more than crosses `start`.
        """
        with self._lock:
            sources = [self._value(name) for name in self._names[start]]
            passed = tuple(
                _position(spec, self._value(name), self._cuts[start].values, sources)
                for spec, name in zip(self._cuts[stop].values, self._names[stop], strict=True)
            )
            wanted: list[ir.Value] = []
            outputs: list[int | None] = []
            ints: set[int] = set()
            orders: dict[int, tuple[int, ...]] = {}
            for spec, name, position in zip(self._cuts[stop].values, self._names[stop], passed, strict=True):
                value = self._value(name)
                if position is not None:
                    outputs.append(None)
                    continue
                if value is None:
                    raise ExecutorError(f"{spec.name!r}, which crosses cut {stop}, is not a plain tensor")
                if value not in wanted:
                    wanted.append(value)
                outputs.append(wanted.index(value))
                if not spec.is_tensor:
                    ints.add(wanted.index(value))
                elif name in self._orders and stop < len(self._cuts) - 1:
                    orders[wanted.index(value)] = self._orders[name]
            if not wanted:
                return Part(None, (), tuple(outputs), passed)
            part = self._extract(start, sources, wanted)
            return replace(part, outputs=tuple(outputs), passed=passed, ints=tuple(sorted(ints)), orders=orders)

    def _value(self, name: str | None) -> ir.Value | None:
        return None if name is None else self._values[name]

    def _extract(
        self,
        start: int,
        sources: Sequence[ir.Value | None],
        wanted: Sequence[ir.Value],
    ) -> Part:
        given = list(dict.fromkeys(value for value in sources if value is not None))
        sized = [value for value in self._model.graph.inputs if value not in given]
        try:
            graph = extract(self._model.graph, [*given, *sized], wanted)
        except ValueError as error:
            raise ExecutorError(f"the nodes after cut {start} need more than crosses it: {error}") from None
        _size_by_what_crosses(graph, len(given), start)
        model = ir.Model(graph, ir_version=self._model.ir_version)
        graph.opset_imports.update(self._model.graph.opset_imports)
        model = optimizer.optimize(model)
        inputs = []
        for value, kept in zip(given, list(model.graph.inputs), strict=True):
            if kept.uses() or kept in model.graph.outputs:
                inputs.append(sources.index(value))
            else:
                model.graph.inputs.remove(kept)
        return Part(model, tuple(inputs), (), ())


def _quiet() -> None:
    """Silence the packages that report each rewritten node, and each one that they cannot rewrite."""
    for name in ("onnx_ir", "onnxscript", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _size_by_what_crosses(graph: ir.Graph, given: int, start: int) -> None:
    """Let nodes that read the batch size of the network's input read it of a value that crosses the cut.

    Raises:
        ExecutorError: they need the input itself, or no value that crosses has the batch size as its first dimension.
    """
    for value in list(graph.inputs)[given:]:
        readers = [usage.node for usage in value.uses()]
        batch = _batch(value)
        like = next((v for v in list(graph.inputs)[:given] if batch is not None and _batch(v) == batch), None)
        if readers and (like is None or any(not _reads_batch(node) for node in readers)):
            raise ExecutorError(f"the nodes after cut {start} need the network's input, which does not cross it")
        for node in readers:
            node.replace_input_with(0, like)
        graph.inputs.remove(value)


def _batch(value: ir.Value) -> str | None:
    if value.shape is None or not len(value.shape) or isinstance(value.shape[0], int):
        return None
    return value.shape[0].value


def _reads_batch(node: ir.Node) -> bool:
    return (
        node.op_type == "Shape" and node.attributes.get_int("start", 0) == 0 and node.attributes.get_int("end", -1) == 1
    )


def _source(value: ir.Value) -> ir.Value:
    """The value that an output is a copy of."""
    node = value.producer()
    while node is not None and node.op_type == "Identity" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def _position(
    spec: ValueSpec, value: ir.Value | None, specs: Sequence[ValueSpec], sources: Sequence[ir.Value | None]
) -> int | None:
    """Where a value is among those that cross an earlier cut; None if it is made later."""
    if value is not None:
        return sources.index(value) if value in sources else None
    names = [other.name for other in specs]
    return names.index(spec.name) if spec.name in names else None


def _export(network: Network, cache: ExportCache) -> Index:
    traceable = network.traceable()
    try:
        with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own code is deprecated there
            program = _dynamic(traceable)
    except Exception as error:
        reason = f"PyTorch cannot export model {network.table.model!r} to ONNX: {_first_line(root_cause(error))}"
        raise ExecutorError(reason) from error
    return cache.write(program.model, traceable)


def _dynamic(traceable: Traceable) -> Any:
    """Export for any batch size, or for one sample where the model does not allow that."""
    doubled = tuple(torch.cat([value, value]) if value.dim() else value for value in traceable.example)
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} if value.dim() else None for value in traceable.example)
    options: dict[str, Any] = {
        "dynamo": True,
        "optimize": False,  # it would merge nodes across cuts
        "verbose": False,
        "opset_version": OPSET,
        "input_names": [f"input{position}" for position in range(len(doubled))],
        "output_names": list(traceable.names),
    }
    with contextlib.suppress(Exception):  # the last attempt raises the error again if it has another cause
        return torch.onnx.export(traceable.module, doubled, dynamic_shapes=(shapes,), **options)
    with contextlib.suppress(Exception):
        # Taken apart into simpler operators: ONNX has no form of some, such as attention of three dimensions.
        whole = torch.export.export(traceable.module, doubled, dynamic_shapes=(shapes,), strict=False)
        return torch.onnx.export(whole.run_decompositions(), doubled, **options)
    return torch.onnx.export(traceable.module, traceable.example, **options)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
