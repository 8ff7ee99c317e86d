"""The estimate of a link's rate from transfers that have ended, for the running edge and for simulations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

DECAY_S: Final = 2.0
"""Age for a weight of 1/e: of 1 to 20 s, it gave the least regret over seven recorded LTE and 3G links."""
LAST_TRANSFER: Final = 0.0
"""A decay that leaves only the newest transfer."""


class DecayedLogMean:
    """The mean of the logarithms of rates, each weighted by exp(-age / decay): the mean factor, not the mean amount.

    Rates of radio links spread over decades, so that one fast transfer must not outweigh several slow ones.

    Args:
        decay_s: age at which a rate has 1/e of its weight; 0 leaves only the newest.
    """

    def __init__(self, decay_s: float = DECAY_S) -> None:
        self._decay_s = decay_s
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._weight = self._sum = 0.0
        self._at_s = -math.inf

    def add(self, at_s: float, kbps: float) -> None:
        """Add a transfer that ended at a time, not before the last one's; its rate is over 0."""
        decay_s = self._decay_s
        factor = math.exp((self._at_s - at_s) / decay_s) if decay_s > 0.0 and self._weight else 0.0
        self._weight = self._weight * factor + 1.0
        self._sum = self._sum * factor + math.log(kbps)
        self._at_s = at_s

    @property
    def log_kbps(self) -> float | None:
        """The natural logarithm of the estimate; None without any transfer."""
        return self._sum / self._weight if self._weight else None


def decayed_kbps(transfers: Iterable[tuple[float, float]], decay_s: float = DECAY_S) -> float:
    """The estimate from at least one pair of end time and rate (kbit/s, over 0), in order of time."""
    estimate = DecayedLogMean(decay_s)
    for at_s, kbps in transfers:
        estimate.add(at_s, kbps)
    return math.exp(estimate.log_kbps or 0.0)


class RecentRate:
    """An amount a second over about the last `window_s`: older amounts fade as exp(-age / window_s).

    Args:
        window_s: age at which an amount has 1/e of its weight, over 0.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._sum = 0.0
        self._at_s = -math.inf

    def add(self, at_s: float, amount: float) -> None:
        """Add an amount at a time; an earlier time than the last one's counts as that one."""
        self._sum = self.at(at_s) * self._window_s + amount
        self._at_s = max(at_s, self._at_s)

    def at(self, at_s: float) -> float:
        """The amount a second at a time."""
        age_s = max(at_s - self._at_s, 0.0)
        return self._sum / self._window_s * math.exp(-age_s / self._window_s) if self._sum else 0.0
