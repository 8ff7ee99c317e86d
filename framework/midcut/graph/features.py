"""What each node of a captured graph computes: kind, multiply-adds, bytes, kernel. Nothing is computed for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from midcut.types import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midcut.graph.program import Program, Registers, Step
    from midcut.graph.verify import Examination

_log = structlog.get_logger(__name__)
# Part of an operation's name, without underscores and in lower case -> kind; the first match counts.
_KINDS: Final = (
    ("attention", "attention"),
    ("conv", "conv"),
    ("pool", "pool"),
    ("norm", "norm"),
    ("linear", "linear"),
    ("softmax", "softmax"),
    *(
        (name, "activation")
        for name in ("relu", "silu", "gelu", "sigmoid", "tanh", "hardswish", "elu", "mish", "swish")
    ),
    *((name, "matmul") for name in ("matmul", "bmm", "addmm", "einsum", "mm")),
    *((name, "elementwise") for name in ("add", "mul", "sub", "div", "dropout", "scale", "pow", "rsqrt", "exp", "neg")),
    ("mean", "reduce"),
    ("sum", "reduce"),
    *((name, "cat") for name in ("cat", "stack")),
    *((name, "copy") for name in ("contiguous", "clone", "reshape", "flatten", "roll", "permute", "pad", "transpose")),
    *((name, "resize") for name in ("interpolate", "upsample")),
)


@dataclass
class _Work:
    """Multiply-adds of one node, and kernel, stride and groups of its convolution."""

    macs: int = 0
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    groups: int = 0


class _WorkRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not annotate it
    """Adds up the work of every operator that runs inside it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = _Work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket  # noqa: SLF001 - the key of torch's own table of operation counts
        if packet not in flop_registry and packet is not torch.ops.prim.device:
            with self:
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        result = func(*args, **kwargs)
        if packet in flop_registry:
            self.work.macs += int(flop_registry[packet](*args, **kwargs, out_val=result)) // 2
        elif packet is torch.ops.aten._native_multi_head_attention:  # noqa: SLF001 - the fused kernel of transformers
            self.work.macs += _attention_macs(args[0], args[1])
        if packet is torch.ops.aten.convolution:
            weight, stride, groups = args[1], args[3], args[8]
            self.work.kernel, self.work.stride, self.work.groups = tuple(weight.shape[2:]), tuple(stride), int(groups)
        return result


def _attention_macs(query: torch.Tensor, key: torch.Tensor) -> int:
    """Four projections, scores and weighted sums."""
    batch, queries, width = query.shape
    keys = key.shape[1]
    return int(batch * (2 * queries * width**2 + 2 * keys * width**2 + 2 * queries * keys * width))


def describe_nodes(
    program: Program, examination: Examination, module: torch.nn.Module, example: Sequence[torch.Tensor]
) -> tuple[Node, ...]:
    """The nodes in execution order, with their features for the example's shapes.

    Fake tensors run through the graph, which have shapes and no values; a graph that needs values is run once more.
    """
    recorder = _WorkRecorder()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as fake:
            inputs = [fake.from_tensor(value) for value in example]
            return tuple(_walk(program, examination, module, inputs, recorder))
    except Exception as error:  # noqa: BLE001 - whatever an operator raises without values
        _log.debug("features need a real run", error=f"{type(error).__name__}: {error}")
    return tuple(_walk(program, examination, module, [value.clone() for value in example], recorder))


def _walk(
    program: Program,
    examination: Examination,
    module: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    recorder: _WorkRecorder,
) -> Iterator[Node]:
    registers = program.load(0, [inputs[register] for register in program.live[0]])
    with torch.no_grad():
        for index, step in enumerate(program.steps):
            recorder.work = _Work()
            in_bytes = sum(_bytes_of(registers[register]) for register in step.reads if register in program.names)
            with recorder:
                registers[step.out] = step.call(registers)
            yield _describe(
                step,
                recorder.work,
                copies=not _is_view(program, examination, index),
                in_bytes=in_bytes,
                out_bytes=_bytes_of(registers[step.out]),
                param_bytes=_parameter_bytes(step, program, module, registers),
            )
            program.drop(registers, index)


def _describe(step: Step, work: _Work, *, copies: bool, in_bytes: int, out_bytes: int, param_bytes: int) -> Node:
    return Node(
        name=step.name,
        op=step.op,
        module=step.module,
        kind=_kind(step.op, work) if copies or work.macs else "view",
        macs=work.macs,
        in_bytes=in_bytes,
        out_bytes=out_bytes,
        param_bytes=param_bytes,
        kernel=work.kernel,
        stride=work.stride,
        groups=work.groups,
    )


def _kind(op: str, work: _Work) -> str:
    """The kind of a node. Convolutions of one channel each, and of single pixels, run at other rates than the rest."""
    plain = op.lower().replace("_", "")
    kind = next((kind for part, kind in _KINDS if part in plain), "other")
    if work.groups > 1 and kind == "conv":
        return "depthwise"
    return "pointwise" if kind == "conv" and math.prod(work.kernel or (2,)) == 1 else kind


def _is_view(program: Program, examination: Examination, index: int) -> bool:
    """Whether a node only looks at memory that exists: its output is no tensor, or shares memory it does not write."""
    step = program.steps[index]
    if step.out not in examination.group:
        return True
    group = examination.group[step.out]
    shares = any(examination.group.get(register) == group for register in step.reads)
    return shares and index not in examination.writes.get(group, ())


def _parameter_bytes(step: Step, program: Program, module: torch.nn.Module, registers: Registers) -> int:
    constants = sum(_bytes_of(registers[register]) for register in step.reads if register in program.constants)
    leaf = module.get_submodule(step.module) if step.module else None
    if leaf is None or type(leaf).__name__ != step.op:  # a function, whose parameters are constants of the graph
        return constants
    return constants + sum(_bytes_of(value) for value in leaf.parameters())


def _bytes_of(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes_of, value)) if isinstance(value, tuple | list) else 0
