"""What the emulation offers to configs. The link is a program: `python -m midcut_emulation.link --help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_emulation.config import EmulatedClockConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_executors() -> Sequence[Component]:
    return (
        Component(
            name="emulated_clock",
            config=EmulatedClockConfig,
            target="midcut_emulation.clock.EmulatedClock",
            summary="EMULATED: stretches every run as a slower clock would, by a trace",
        ),
    )
