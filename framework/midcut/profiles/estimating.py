"""Estimates a profile from the operations and bytes of each node, for a device on which nobody has measured the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from msgspec.structs import replace
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from midcut.profiles.devices import modelled_seconds
from midcut.profiles.profile import Profile, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.graph import Partition
    from midcut.profiles.devices import Device
    from midcut.terms import Role

ESTIMATED = "estimated from operations and bytes"
_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten._convolution)  # noqa: SLF001 - aten's own name


def estimate(partition: Partition, inputs: Sequence[torch.Tensor], device: Device, role: Role) -> Profile:
    """Estimate the seconds of every node on a device. It takes one forward pass on this machine.

    A node takes the device's least time; convolutions and matrix products also their operations at the device's rate;
    and everything the bytes that it moves. Other devices, libraries and threads may be several times faster or slower.

    Args:
        partition: the captured model.
        inputs: of the model.
    """
    work = [_node_work(counted, device) for counted in _count_work(partition, inputs)]
    runs = []
    for clock_mhz in device.clocks_mhz or (None,):
        node_s = modelled_seconds(device, clock_mhz, work)
        runs.append(Run(clock_mhz, node_s, (0.0,) * len(node_s), whole_s=sum(node_s), whole_spread_s=0.0, repeats=0))
    return Profile(
        model=partition.table.model,
        role=role,
        table=partition.table,
        machine=replace(device.machine, system=ESTIMATED),
        versions={},
        threads=1,
        batch=1,
        modelled=True,
        origin=f"{ESTIMATED} per node and constants of the device, not measured",
        runs=tuple(runs),
    )


class _WorkCounter(TorchDispatchMode):
    """Adds up the work of the tensor operations inside it; `take` returns it and starts again at 0."""

    def __init__(self) -> None:
        super().__init__()
        self._work = _Work()

    def take(self) -> _Work:
        work, self._work = self._work, _Work()
        return work

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        packet = func._overloadpacket  # noqa: SLF001 - how torch's own FlopCounterMode finds the operation
        read, written = _tensors((args, given)), _tensors(result)
        if packet in flop_registry:
            operations = float(flop_registry[packet](*args, **given, out_val=result))
            moved = written if packet in _CONVOLUTIONS else read
            self._work.add(operations, packet in _CONVOLUTIONS, sum(map(_bytes, moved)))
        elif not _is_view(read, written):
            self._work.moved_bytes += max(sum(map(_bytes, read)), sum(map(_bytes, written)))
        return result


class _Work:
    """What a node does: operations, bytes that convolutions write, that products read, that other operations move."""

    def __init__(self) -> None:
        self.operations = self.convolution_bytes = self.product_bytes = self.moved_bytes = 0.0

    def add(self, operations: float, convolution: bool, moved: float) -> None:
        self.operations += operations
        if convolution:
            self.convolution_bytes += moved
        else:
            self.product_bytes += moved


def _count_work(partition: Partition, inputs: Sequence[torch.Tensor]) -> list[_Work]:
    with torch.no_grad(), _WorkCounter() as counter:
        walk = partition.walk(inputs)
        works = []
        for _ in walk:
            works.append(counter.take())
        return works


def _node_work(work: _Work, device: Device) -> tuple[float, float]:
    """The seconds at the full clock that scale with the clock, and those that memory limits."""
    core = device.node_s + device.conv_s_per_gflop * work.operations / 1e9
    memory = device.conv_s_per_mb * work.convolution_bytes / 1e6
    memory += device.linear_s_per_gb * work.product_bytes / 1e9
    return core, memory + device.unary_s_per_gb * work.moved_bytes / 1e9


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _is_view(read: Sequence[torch.Tensor], written: Sequence[torch.Tensor]) -> bool:
    """Whether an operation only describes memory anew; one that writes in place returns its own argument."""
    given = {tensor.untyped_storage().data_ptr() for tensor in read}
    in_place = any(tensor is other for tensor in read for other in written)
    return not in_place and all(tensor.untyped_storage().data_ptr() in given for tensor in written)
