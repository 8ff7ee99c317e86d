"""A partition that runs on another device than the CPU, such as a GPU."""

from __future__ import annotations

import contextlib
import copy
import weakref
from typing import TYPE_CHECKING, Any

import torch

from midcut.config.settings import Capture
from midcut.errors import ConfigError, GraphError
from midcut.graph.attention import without_fast_path
from midcut.graph.capture import capture
from midcut.graph.partitioned import Partition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midcut.graph.program import Program
    from midcut.graph.sizes import Shapes
    from midcut.types import LoadedModel, Traceable


class DevicePartition(Partition):
    """A copy of a partition on another device, with the same cuts and fingerprint.

    `run` takes values on the CPU and returns them there. Its results are not bit-identical to those of the CPU.

    Args:
        on_cpu: of the same model.
        device: torch's name for it: `cuda`, `cuda:1`.

    Raises:
        ConfigError: there is no such device.
        GraphError: capturing the model on the device gives different nodes.
    """

    def __init__(self, on_cpu: Partition, model: LoadedModel, device: str) -> None:
        self._on_cpu, self._device = on_cpu, _usable_device(device)
        self._at_sizes: weakref.WeakKeyDictionary[Partition, DevicePartition] = weakref.WeakKeyDictionary()
        module = copy.deepcopy(model.module).to(self._device)
        example = tuple(value.to(self._device) for value in model.example)
        program = _recapture(module, example, on_cpu)
        if program is None:
            raise GraphError(f"model {model.name!r} has different nodes on {device} than on the CPU")
        on_cpu.share(program, self)
        self.sizes = on_cpu.sizes

    def run(self, start: int, stop: int, values: Sequence[Any]) -> tuple[Any, ...]:
        moved = [value.to(self._device) if isinstance(value, torch.Tensor) else value for value in values]
        outputs = super().run(start, stop, moved)
        return tuple(value.cpu() if isinstance(value, torch.Tensor) else value for value in outputs)

    def for_shapes(self, shapes: Shapes) -> Partition | None:
        found = self._on_cpu.for_shapes(shapes)
        return None if found is None else self._moved(found)

    def make_for_shapes(self, shapes: Shapes) -> Partition:
        return self._moved(self._on_cpu.make_for_shapes(shapes))

    def _moved(self, found: Partition) -> Partition:
        """One of the CPU's partitions on the device."""
        if found is self._on_cpu:
            return self
        if found not in self._at_sizes:
            made = copy.copy(self)
            made._on_cpu = found  # noqa: SLF001 - its own class
            found.share(self._program.copy(), made)
            self._at_sizes[found] = made
        return self._at_sizes[found]

    def traceable(self) -> Traceable:
        raise GraphError(f"the model runs on {self._device}; only a model on the CPU is exported")

    def walk(self, inputs: Sequence[torch.Tensor]) -> Iterator[None]:
        """Like `Partition.walk`; waits for the device after each node, which would else only be queued."""
        for _ in super().walk([value.to(self._device) for value in inputs]):
            torch.accelerator.synchronize(self._device)
            yield


def _recapture(module: torch.nn.Module, example: tuple[torch.Tensor, ...], on_cpu: Partition) -> Program | None:
    """Capture the module as on the CPU; None where the nodes are others."""
    names = [node.name for node in on_cpu.table.nodes]
    for any_batch in (True, False):
        with contextlib.suppress(GraphError), without_fast_path():
            program = capture(
                module, example, Capture(on_cpu.table.capture), any_batch=any_batch, ranges=on_cpu.table.ranges
            )
            index = {step.name: at for at, step in enumerate(program.steps)}
            if sorted(index) == sorted(names):
                return program.reordered([index[name] for name in names])
    return None


def _usable_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ConfigError(f"cloud.device={name}: torch cannot use this device here: {first_line}") from None
    return device
