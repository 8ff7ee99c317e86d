"""Two hashes that are equal at edge and cloud exactly when a cut means the same on both."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from midcut.graph.compile import describe_constant
from midcut.tensors import tensor_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch

    from midcut.graph.program import Program
    from midcut.types import Cut

_DIGITS = 16


def graph_hash(program: Program, cuts: Sequence[Cut]) -> str:
    """Hash the operations with their arguments, and the values of every cut; 16 hex digits."""
    digest = hashlib.sha256()
    for step in program.steps:
        digest.update(f"{step.name} {step.module} {step.signature}\n".encode())
    for entry in program.output:
        digest.update(f"output {f'%{entry}' if isinstance(entry, int) else describe_constant(entry[0])}\n".encode())
    # `refused` is left out: edge and cloud may offer different cuts, as long as what crosses each is the same.
    plain = [(cut.index, cut.layer, cut.ends_module, cut.values) for cut in cuts]
    digest.update(msgspec.json.encode(plain))
    return digest.hexdigest()[:_DIGITS]


def weights_hash(module: torch.nn.Module) -> str:
    """Hash names, dtypes, shapes and bytes of parameters and buffers; 16 hex digits."""
    digest = hashlib.sha256()
    tensors: Iterable[tuple[str, torch.Tensor]] = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda entry: entry[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_to_bytes(tensor.contiguous())[0])
    return digest.hexdigest()[:_DIGITS]
