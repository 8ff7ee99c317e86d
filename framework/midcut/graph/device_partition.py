"""A partition whose nodes run on another device than the values come from and go to."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from midcut.config.settings import Capture
from midcut.errors import ConfigError, GraphError
from midcut.graph.capture import capture
from midcut.graph.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.types import LoadedModel


class DevicePartition(Partition):
    """The same cuts under the same fingerprint; `run` takes values from the CPU and gives them back there.

    What it gives is not bit-identical to the CPU's.

    Args:
        made: of the same model, on the CPU.
        device: torch's name: `cuda`, `cuda:1`.

    Raises:
        ConfigError: there is no such device.
        GraphError: captured there, the model is another one.
    """

    def __init__(self, made: Partition, model: LoadedModel, device: str) -> None:
        self._device = _device(device)
        module = copy.deepcopy(model.module).to(self._device)
        example = tuple(value.to(self._device) for value in model.example)
        program = capture(module, example, Capture(made.table.capture))
        if [step.name for step in program.steps] != [node.name for node in made.table.nodes]:
            raise GraphError(f"model {model.name!r} has other nodes on {device} than on the CPU")
        made.share(program, self)

    def run(self, start: int, stop: int, values: Sequence[Any]) -> tuple[Any, ...]:
        there = [value.to(self._device) if isinstance(value, torch.Tensor) else value for value in values]
        outputs = super().run(start, stop, there)
        return tuple(value.cpu() if isinstance(value, torch.Tensor) else value for value in outputs)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        line = str(error).strip().splitlines()[0]
        raise ConfigError(f"cloud.device={name}: torch cannot use that here: {line}") from None
    return device
