"""The executors that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_executors.config import EmulatedClockConfig, NativeConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_executors() -> Sequence[Component]:
    return (
        Component("native", NativeConfig, "midcut_executors.native.Native", "this machine at its own speed"),
        Component(
            name="emulated_clock",
            config=EmulatedClockConfig,
            target="midcut_executors.emulated_clock.EmulatedClock",
            summary="EMULATED: stretches every run as the slower clock of a trace would",
        ),
    )
