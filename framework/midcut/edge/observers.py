"""Several observers as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midcut.edge.planning_loop import Observers
    from midcut.types import Decision, InferenceResult


class Each:
    """Tells one after the other."""

    def __init__(self, *observers: Observers) -> None:
        self._observers = observers

    def decided(self, decision: Decision) -> None:
        for observer in self._observers:
            observer.decided(decision)

    def inferred(self, result: InferenceResult) -> None:
        for observer in self._observers:
            observer.inferred(result)
