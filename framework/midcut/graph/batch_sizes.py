"""Finds whether a graph that `torch.export` made is right for batch sizes that it was not traced with.

A module that branches on its batch size is traced along the branch of the traced size, and torch notes the condition as
a guard. Each guard is evaluated at every batch size from 2 to 4096; verification at batch 1 runs the module itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from midcut.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

_LARGEST: Final = 4096
_OF_EXPORT: Final = "_guards_fn"


class BatchBranchError(GraphError):
    """The graph holds for some batch sizes only."""


def check_symbols(exported: torch.export.ExportedProgram) -> None:
    """Check a program whose inputs have a free batch size.

    Raises:
        BatchBranchError: torch assumed something of it while tracing.
    """
    environment = _shape_environment(exported)
    if environment is None:
        return
    # Names inside torch: a version without them is not checked. 2.10 and earlier have the other name of the values.
    symbols, guards = getattr(environment, "source_to_var", {}), getattr(environment, "guards", ())
    batch = {symbol for name, symbol in symbols.items() if name.endswith(".size()[0]")}
    known = getattr(environment, "backed_var_to_val", None) or getattr(environment, "var_to_val", {})
    sizes = {symbol: value for symbol, value in known.items() if symbol not in batch}
    for condition in {guard.expr for guard in guards}:
        of_batch = condition.free_symbols & batch
        at_sizes = condition.xreplace(sizes) if of_batch else condition
        for size in range(2, _LARGEST + 1) if of_batch else ():
            if not bool(at_sizes.subs(dict.fromkeys(of_batch, size))):
                raise _error(size)


def check_guards(module: torch.nn.Module, example: Sequence[torch.Tensor]) -> None:
    """Check a module that a user made with `torch.export`, which refuses sizes by itself; others are not checked.

    Raises:
        BatchBranchError: it refuses a batch size.
    """
    guards: Any = getattr(module, _OF_EXPORT, None)
    for size in range(2, _LARGEST + 1) if guards is not None else ():
        try:
            guards(*[value.expand(size, *value.shape[1:]) if value.dim() else value for value in example])
        except Exception:  # noqa: BLE001 - torch raises an AssertionError, in other versions others
            raise _error(size) from None


def _shape_environment(exported: torch.export.ExportedProgram) -> Any:
    """Where torch keeps the guards; None where no size is free."""
    values = [node.meta.get("val") for node in exported.graph.find_nodes(op="placeholder")]
    modes = [mode for value in values if (mode := getattr(value, "fake_mode", None)) is not None]
    return modes[0].shape_env if modes else None


def _error(size: int) -> BatchBranchError:
    return BatchBranchError(f"it branches on the batch size: what was captured does not hold for a batch of {size}")
