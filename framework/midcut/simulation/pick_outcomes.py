"""What picked placements really took, also where the edge gave up waiting for the cloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midcut.types import LATENCY_AND_COST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from midcut.simulation.over_trace import TracePicks
    from midcut.simulation.strategies import Chunk
    from midcut.simulation.truth_table import TruthTable
    from midcut.types import Floats, Forecast, Ints

IN_TIME, GIVEN_UP, TIMED_OUT = 0, 1, 2


@dataclass
class PickOutcomes:
    """What W rows of picks took in n samples.

    Attributes:
        columns: latency_s, cost_usd and further columns -> values, shape (W, n).
        given_up: number of the row of picks -> what its requests take that the edge gave up, and which they are.
    """

    columns: dict[str, Floats]
    given_up: dict[int, tuple[Forecast, NDArray[np.bool_]]]

    @classmethod
    def of(cls, truth: TruthTable, indices: Ints) -> PickOutcomes:
        """The outcomes of waiting for every reply; `indices` are the picks' in the table."""
        return cls({name: truth.column(name).take(indices) for name in (*LATENCY_AND_COST, *truth.objectives)}, {})

    def give_up(
        self, complete: Callable[[Floats], Forecast], picks: Ints, patience_s: Sequence[Floats]
    ) -> NDArray[np.bool_]:
        """Let the edge finish the requests that are sooner done so; returns which these are, shape (W, n)."""
        late = np.zeros(picks.shape, dtype=np.bool_)
        for row, waited_s in enumerate(patience_s):
            # Without patience to lose, an infinite wait would make infinite costs.
            forecast = complete(np.where(np.isfinite(waited_s), waited_s, 0.0))
            at = np.arange(len(waited_s)), picks[row]
            late[row] = np.isfinite(waited_s) & (forecast.latency_s[at] < self.columns["latency_s"][row])
            for name, values in self.columns.items():
                values[row] = np.where(late[row], forecast.column(name)[at], values[row])
            self.given_up[row] = forecast, late[row]
        return late

    def weighed_columns(self, aim: tuple[str, str]) -> tuple[Floats, Floats]:
        """The two columns that planners weigh, each of shape (W, n)."""
        return self.columns[aim[0]], self.columns[aim[1]]

    def over_trace(self, chunk: Chunk, picks: Ints, trace_picks: Sequence[TracePicks]) -> dict[str, Floats]:
        """The fields of `midcut.results.simulation.OverTrace`, each of shape (W, n)."""
        base, number = chunk.true_forecast, np.arange(picks.shape[1])
        parts = {f"{name}_s": np.array([part_s[number, row] for row in picks]) for name, part_s in base.parts.items()}
        timed_out = self._timed_out(chunk, picks)
        ended = np.where(timed_out, TIMED_OUT, IN_TIME)
        for row, (forecast, late) in self.given_up.items():
            ended[row][late] = GIVEN_UP
            for name, part_s in forecast.parts.items():
                taken = parts[f"{name}_s"]
                taken[row] = np.where(late, part_s[number, picks[row]], taken[row])
        seen = [np.nan_to_num(np.exp(row.log_kbps)) for row in trace_picks]
        return {**parts, "ended": ended, "seen_kbps": np.array(seen) if seen else np.empty((len(picks), 0))}

    @staticmethod
    def _timed_out(chunk: Chunk, picks: Ints) -> NDArray[np.bool_]:
        base, timeout_s = chunk.true_forecast, None if chunk.run is None else chunk.run.timeout_s
        number, late = np.arange(picks.shape[1]), np.zeros(picks.shape, dtype=np.bool_)
        if timeout_s is not None:
            for row, picked in enumerate(picks):
                late[row] = ~base.placements.on_edge[picked] & (base.link_s[number, picked] >= timeout_s)
        return late
