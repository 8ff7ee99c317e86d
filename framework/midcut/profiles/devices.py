"""Devices whose seconds are computed from the work of a network instead of measured."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from midcut.profiles.profile import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Device:
    """Seconds per unit of work, one thread.

    The constants for convolutions and fully connected layers were calibrated elsewhere, on public measurements of the
    devices called `raspi4` and `vm2core`; only the constants are known here, so the measurements cannot be cited. The
    rates for pooling and element-wise operations, and the least time of a node, are round numbers.

    Attributes:
        conv_s_per_gflop: convolutions, per 10**9 operations (a multiply-add is two).
        conv_s_per_mb: convolutions, per 10**6 bytes written.
        linear_s_per_gb: fully connected layers, per 10**9 bytes of parameters.
        pool_s_per_gb: pooling, per 10**9 bytes read and written.
        unary_s_per_gb: element-wise operations, per 10**9 bytes written.
        node_s: overhead of every node.
        clocks_mhz: clock settings, ascending, the last one being that of the constants; empty for a fixed clock.
    """

    machine: Machine
    conv_s_per_gflop: float
    conv_s_per_mb: float
    linear_s_per_gb: float
    pool_s_per_gb: float
    unary_s_per_gb: float
    node_s: float
    clocks_mhz: tuple[int, ...] = ()


DEVICES: Mapping[str, Device] = MappingProxyType(
    {
        "pi4": Device(
            machine=Machine(name="Raspberry Pi 4 Model B", processor="Cortex-A72", cores=4, system="modelled"),
            conv_s_per_gflop=0.05404549396327711,
            conv_s_per_mb=0.004446946769110204,
            linear_s_per_gb=0.5669398127898281,
            pool_s_per_gb=0.9,
            unary_s_per_gb=0.66,
            node_s=80e-6,
            clocks_mhz=tuple(range(600, 1501, 100)),
        ),
        "cloud": Device(
            machine=Machine(name="2-core virtual machine", processor="unknown", cores=2, system="modelled"),
            conv_s_per_gflop=0.005279319576218322,
            conv_s_per_mb=0.0010138628385963446,
            linear_s_per_gb=0.10326479914131899,
            pool_s_per_gb=0.3,
            unary_s_per_gb=0.2,
            node_s=16e-6,
        ),
    }
)
"""By the names that `edge_profile` and `cloud_profile` take."""


def modelled_seconds(device: Device, clock_mhz: int | None, work: list[tuple[float, float]]) -> tuple[float, ...]:
    """Seconds per node at a clock.

    Args:
        clock_mhz: None where the device's clock is fixed.
        work: for every node the seconds at the full clock that scale with it, and those that memory limits.
    """
    slowdown = device.clocks_mhz[-1] / clock_mhz if clock_mhz else 1.0
    return tuple(core * slowdown + memory for core, memory in work)
