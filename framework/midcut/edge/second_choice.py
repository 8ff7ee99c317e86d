"""Asks the planner again for a single request, whose forecast differs from the one that was planned for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from midcut.errors import MidcutError

if TYPE_CHECKING:
    from midcut.planning.policy import Policy
    from midcut.types import Forecast

_log = structlog.get_logger("midcut.edge")


def choose_again(policy: Policy, forecast: Forecast) -> int | None:
    """The row that the planner picks; None where it picks none, e.g. because no placement keeps its limit.

    An answer must not be lost by that, so no error is raised.
    """
    if not len(forecast):
        return None
    try:
        return policy.would_choose(forecast)
    except MidcutError as error:
        _log.debug("no choice for this request", reason=str(error))
    except Exception:  # noqa: BLE001 - a plugin's planner; the edge must go on answering
        _log.exception("planning for this request failed")
    return None
