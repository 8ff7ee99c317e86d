"""What an answer costs, also where its price cannot be known: an answer is never lost for its price."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import structlog

from midcut.planning.pricing import request_usd

if TYPE_CHECKING:
    from midcut.protocols import CostModel
    from midcut.types import Usage

_log = structlog.get_logger("midcut.edge")


class AnswerPrice:
    """Prices answers by a cost model, which may need what telemetry does not give now, or be a plugin's.

    Where it fails, an answer is priced by its busy seconds alone, and where that fails, too, at nothing. The log has a
    line when that begins.
    """

    def __init__(self, cost: CostModel) -> None:
        self._cost = cost
        self._fails = False

    def usd(self, usage: Usage) -> float:
        """US dollars of one answer, finite."""
        why: list[str] = []
        for price in (self._by_usage, self._by_seconds):
            try:
                usd = price(usage)
            except Exception as error:  # noqa: BLE001 - a plugin's cost model
                why.append(f"{type(error).__name__}: {error}")
                continue
            if math.isfinite(usd):
                break
            why.append(f"it gives {usd}")
        else:
            usd = 0.0
        if why and not self._fails:
            _log.warning("answers are priced by seconds alone", reason=why[0][:300])
        self._fails = bool(why)
        return usd

    def _by_usage(self, usage: Usage) -> float:
        return float(request_usd(self._cost, usage))

    def _by_seconds(self, usage: Usage) -> float:
        return float(self._cost.cost_usd(usage.edge_s, usage.link_s, usage.cloud_s))
