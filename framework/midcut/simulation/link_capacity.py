"""How long transfers take over a recorded link: the link's rate is integrated from the start of each on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from midcut.traces import Trace
    from midcut.types import Floats


class LinkCapacity:
    """What a trace's `bandwidth_kbps` can carry. After its end it starts again, as mahimahi's links do.

    Args:
        trace: its first row is at time zero; a rate of 0 is an outage.
    """

    def __init__(self, trace: Trace) -> None:
        self.period_s = trace.period_s
        self._ends_s = np.append(trace.time_s, trace.period_s)
        rates = trace.fields["bandwidth_kbps"]
        self._carried_kbit = np.concatenate(([0.0], np.cumsum(rates * np.diff(self._ends_s))))
        self.period_kbit = float(self._carried_kbit[-1])

    def carried_kbit(self, until_s: Floats) -> Floats:
        """What the link can carry from time zero until each time, 0 or later."""
        rounds, rest_s = np.divmod(until_s, self.period_s)
        carried: Floats = rounds * self.period_kbit + np.interp(rest_s, self._ends_s, self._carried_kbit)
        return carried

    def transfer_s(self, start_s: Floats, kbit: Floats) -> Floats:
        """Seconds that transfers take from their starts on; infinite where the trace never carries anything.

        Args:
            start_s, kbit: shapes that broadcast; of 0 kbit or more.
        """
        if self.period_kbit <= 0.0:
            return np.where(np.broadcast_arrays(start_s, kbit)[1] > 0.0, np.inf, 0.0)
        target_kbit = self.carried_kbit(start_s) + kbit
        rounds = np.floor(target_kbit / self.period_kbit)
        rest_kbit = np.minimum(target_kbit - rounds * self.period_kbit, self.period_kbit)
        # The earliest time at which so much is carried: an outage after the last bit does not count.
        row = np.maximum(np.searchsorted(self._carried_kbit, rest_kbit, side="left"), 1)
        before_kbit, after_kbit = self._carried_kbit[row - 1], self._carried_kbit[row]
        span_kbit = after_kbit - before_kbit
        share = np.divide(rest_kbit - before_kbit, span_kbit, out=np.zeros_like(rest_kbit), where=span_kbit > 0.0)
        begin_s = self._ends_s[row - 1]
        end_s = rounds * self.period_s + begin_s + share * (self._ends_s[row] - begin_s)
        return np.where(kbit > 0.0, np.maximum(end_s - start_s, 0.0), 0.0)
