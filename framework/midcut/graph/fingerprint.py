"""Two hashes that are equal at edge and cloud exactly when a cut means the same on both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from torch.nn.modules import module as torch_module

from midcut.graph.content import ContentHash, elements

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from midcut.graph.program import Program
    from midcut.types import Cut, ShapeRange

_DIGITS = 16


def fingerprint(
    program: Program, cuts: Sequence[Cut], module: torch.nn.Module, ranges: Sequence[ShapeRange] = ()
) -> tuple[str, str]:
    """Hash everything that decides an answer.

    Args:
        ranges: the sizes that the inputs may have beside those of the cuts.

    Returns:
        a hash of the operations, their settings, hooks and arguments, and the values of every cut; and one of all
        parameters, buffers and other tensors that the graph uses, packed or not. 16 hex digits each.

    Raises:
        GraphError: a part of the model has content that cannot be hashed; the message names it.
    """
    tensors = [*module.named_parameters(), *module.named_buffers()]
    content = ContentHash(covered=[tensor for _, tensor in tensors])
    for name, tensor in sorted(tensors, key=lambda entry: entry[0]):
        content.weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        for data in elements(tensor):
            content.weights.update(data)
    for step in program.steps:
        content.note(f"{step.name} {step.module}")
        step.describe(content)
    for entry in program.output:
        content.add(f"%{entry}" if isinstance(entry, int) else entry[0], "a constant in the model's output")
    for hooks in (torch_module._global_forward_pre_hooks, torch_module._global_forward_hooks):  # noqa: SLF001
        content.add(list(hooks.values()), "a hook on all modules")
    if ranges:
        content.note(f"inputs {', '.join(entry.text for entry in ranges)}")
    # `refused` is left out: edge and cloud may offer different cuts, as long as what crosses each is the same.
    plain = [(cut.index, cut.layer, cut.ends_module, cut.values) for cut in cuts]
    content.settings.update(msgspec.json.encode(plain))
    return content.settings.hexdigest()[:_DIGITS], content.weights.hexdigest()[:_DIGITS]
