"""The estimate of a link's rate from the edge's own transfers, for the running edge and for simulations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

REVERSION_S: Final = 8.0
"""After this time without a transfer, 1/e of what the newest ones differ from the long-run mean is left."""
LONG_RUN_S: Final = 60.0
"""Age at which a transfer has 1/e of its weight in the long-run mean."""
SPREAD: Final = 0.5
"""Variance of the logarithm of a link's rate around its long-run mean."""
NOISE: Final = 0.25
"""Variance of the logarithm of a transfer's rate around the link's rate at its end."""
LEAST_AGE_S: Final = 0.05
"""A transfer that has run for less shows nothing yet."""


class LinkRate:
    """A Kalman filter of the logarithm of a link's rate, with two additions for what an edge does not see.

    Rates of radio links spread over decades, so factors are averaged, not amounts. The rate is modelled as a process
    that returns to a long-run mean (Ornstein-Uhlenbeck): an edge that computes by itself sees no transfers, so its
    estimate goes back to what the link usually gives instead of staying where the last transfer left it. A transfer
    that still runs is no faster than its bytes by the time that it has taken: an outage shows before a time-out.

    The four constants were chosen on recorded and generated links; each may be halved or doubled without much effect.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._mean = self._variance = self._long_weight = self._long_sum = 0.0
        self._at_s = -math.inf

    def add(self, at_s: float, kbps: float) -> None:
        """Add a transfer that ended at a time, not before the last one's; its rate is over 0."""
        log_kbps = math.log(kbps)
        if self._long_weight:
            mean, variance = self._predict(at_s)
            faded = math.exp((self._at_s - at_s) / LONG_RUN_S)
        else:
            mean, variance, faded = log_kbps, SPREAD, 0.0
        gain = variance / (variance + NOISE)
        self._mean, self._variance = mean + gain * (log_kbps - mean), (1.0 - gain) * variance
        self._long_weight = self._long_weight * faded + 1.0
        self._long_sum = self._long_sum * faded + log_kbps
        self._at_s = at_s

    def log_kbps(self, at_s: float, running: Iterable[tuple[float, float]] = ()) -> float | None:
        """The natural logarithm of the estimate (kbit/s) at a time; None without any transfer.

        Args:
            at_s: not before the last transfer's end.
            running: when each transfer under way began, and its kbit, over 0.
        """
        if not self._long_weight:
            return None
        estimate = self._predict(at_s)[0]
        for began_at_s, kbit in running:
            age_s = at_s - began_at_s
            if age_s > LEAST_AGE_S:
                estimate = min(estimate, math.log(kbit / age_s))
        return estimate

    def _predict(self, at_s: float) -> tuple[float, float]:
        """Mean and variance of the logarithm of the rate at a time."""
        left = math.exp(min(self._at_s - at_s, 0.0) / REVERSION_S)
        long_run = self._long_sum / self._long_weight
        return long_run + left * (self._mean - long_run), SPREAD + left * left * (self._variance - SPREAD)


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


class LastTransfer:
    """The rate of the newest transfer, to compare `LinkRate` with."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget it."""
        self._log_kbps: float | None = None

    def add(self, at_s: float, kbps: float) -> None:  # noqa: ARG002 - as LinkRate
        """Replace it by a newer one; its rate is over 0."""
        self._log_kbps = math.log(kbps)

    def log_kbps(self, at_s: float, running: Iterable[tuple[float, float]] = ()) -> float | None:  # noqa: ARG002 - as LinkRate
        """The natural logarithm of the newest rate (kbit/s); None without any transfer."""
        return self._log_kbps
