"""What runs tails in the cloud, and a warning where the cloud's profile was measured in something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midcut.types import HeldModel

_log = structlog.get_logger("midcut.edge")


class CloudExecutor:
    """Compares the cloud's executor with that of the profile that its seconds are planned with.

    Args:
        model: name of the model.
        profiled: returns the executor of the cloud's profile, empty for PyTorch; None where there is no profile.
    """

    def __init__(self, model: str, profiled: Callable[[], str | None]) -> None:
        self._model, self._profiled = model, profiled
        self._seen = ""

    def see(self, models: Mapping[str, HeldModel]) -> None:
        """Log the executor that the cloud lists, once for each."""
        held = models.get(self._model)
        if held is None or held.executor in ("", self._seen):
            return
        self._seen = held.executor
        profiled = self._profiled()
        if profiled is None or _same(profiled, held.executor):
            _log.info("the cloud's executor", executor=held.executor)
            return
        _log.warning(
            f"the cloud's profile was measured in {profiled or 'PyTorch'}",
            executor=held.executor,
            better="cloud_profile=auto, or midcut profile role=cloud with the same executor",
        )


def _same(profiled: str, listed: str) -> bool:
    return listed == profiled or (not profiled and listed.startswith("native"))
