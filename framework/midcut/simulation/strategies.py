"""Who picks: the installed planners, and fixed strategies to compare them with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from midcut.errors import ConfigError, PluginError
from midcut.protocols import LimitedPlanner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from midcut.protocols import Planner
    from midcut.simulation.truth_table import TruthTable
    from midcut.types import Floats, Forecast, Ints

LATENCY_OPTIMAL, COST_OPTIMAL, EDGE_ONLY, CLOUD_ONLY = "latency_optimal", "cost_optimal", "edge_only", "cloud_only"
STATIC_BEST, ORACLE = "static_best", "oracle"
FIXED = (LATENCY_OPTIMAL, COST_OPTIMAL, EDGE_ONLY, CLOUD_ONLY, STATIC_BEST, ORACLE)


@dataclass(frozen=True)
class Piece:
    """Some of the samples: what the picking set forecasts and what the truth set says of them, n rows each.

    Attributes:
        predicted: arrays of shape (n, P).
        ground: likewise.
        static: row of the best single placement at every weight, for each of the n, shape (W, n).
    """

    predicted: Forecast
    ground: TruthTable
    static: Ints


class Strategy(Protocol):
    """Picks for every sample.

    Attributes:
        name: as in results and claims.
        planner: whether it is an installed planner.
        weights: one per row of picks; None where no weight counts.
    """

    name: str
    planner: bool
    weights: tuple[float | None, ...]

    def picks(self, piece: Piece) -> Ints:
        """Row of the placement for every weight and sample, shape (len(weights), n)."""
        ...

    def unmet(self, piece: Piece, picks: Ints) -> NDArray[np.bool_] | None:
        """Where no placement keeps the strategy's own limit; None where it has none."""
        ...


class PlannerStrategy:
    """A planner, asked at every weight.

    A planner that follows no weight gives the same rows for all; `weighted` says so.
    """

    planner = True

    def __init__(self, name: str, planner: Planner, weights: Sequence[float]) -> None:
        self.name = name
        self.weights: tuple[float | None, ...] = tuple(weights)
        self.weighted = planner.w is not None
        self._planner = planner
        self._column = np.array(weights, dtype=np.float64)[:, None]

    def picks(self, piece: Piece) -> Ints:
        """See `Strategy`."""
        picks = np.asarray(self._planner.choose(piece.predicted, self._column))
        shape = (len(self.weights), len(piece.predicted.latency_s))
        rows = len(piece.predicted)
        if picks.shape != shape or picks.dtype.kind not in "iu" or picks.min() < 0 or picks.max() >= rows:
            raise PluginError(
                f"planner {self.name!r}: choose must return rows 0 to {rows - 1}, integers of shape {shape} for "
                f"{shape[0]} weights and {shape[1]} samples; got {_told(picks)}"
            )
        return picks

    def unmet(self, piece: Piece, picks: Ints) -> NDArray[np.bool_] | None:
        """See `Strategy`."""
        if not isinstance(self._planner, LimitedPlanner):
            return None
        return ~self._planner.meets(piece.predicted, picks)


class Fixed:
    """One of the strategies that need no planner."""

    planner = False

    def __init__(self, name: str, weights: Sequence[float]) -> None:
        self.name = name
        own: dict[str, tuple[float | None, ...]] = {LATENCY_OPTIMAL: (0.0,), COST_OPTIMAL: (1.0,)}
        self.weights = own.get(name, tuple(weights) if name in (STATIC_BEST, ORACLE) else (None,))
        self._weights = tuple(weights)

    def picks(self, piece: Piece) -> Ints:
        """See `Strategy`."""
        if self.name == ORACLE:
            return piece.ground.best(self._weights)[0]
        if self.name == STATIC_BEST:
            return piece.static
        predicted = piece.predicted
        if self.name == LATENCY_OPTIMAL:
            return lowest(predicted.latency_s, predicted.cost_usd)[None]
        if self.name == COST_OPTIMAL:
            return lowest(predicted.cost_usd, predicted.latency_s)[None]
        return self._at_one_cut(predicted)[None]

    def _at_one_cut(self, predicted: Forecast) -> Ints:
        """The last cut or the first one, with the codec that is fastest, as predicted, of equals the cheapest."""
        cuts = predicted.placements.cut
        (rows,) = np.nonzero(cuts == (cuts.max() if self.name == EDGE_ONLY else cuts.min()))
        best: Ints = rows[lowest(predicted.latency_s[:, rows], predicted.cost_usd[:, rows])]
        return best

    def unmet(self, piece: Piece, picks: Ints) -> NDArray[np.bool_] | None:  # noqa: ARG002 - it has no limit
        """See `Strategy`."""
        return None


def _told(picks: NDArray[Any]) -> str:
    kind = f"{picks.dtype} of shape {picks.shape}"
    return f"{kind} from {picks.min()} to {picks.max()}" if picks.dtype.kind in "iuf" and picks.size else kind


def make_strategies(planners: Mapping[str, Planner], weights: Sequence[float]) -> list[Strategy]:
    """All that are compared: the fixed ones, then the planners.

    Raises:
        ConfigError: a planner goes by the name of a fixed strategy.
    """
    taken = sorted(set(planners) & set(FIXED))
    if taken:
        raise ConfigError(f"strategy {taken[0]!r} is evaluated in any case; a planner must go by another name")
    fixed: list[Strategy] = [Fixed(name, weights) for name in FIXED]
    return fixed + [PlannerStrategy(name, planner, weights) for name, planner in planners.items()]


def lowest(first: Floats, second: Floats) -> Ints:
    """Row with the smallest first objective, of equals the smallest second, of equals the first; shape (n,)."""
    ties = first == first.min(axis=-1, keepdims=True)
    best: Ints = np.where(ties, second, np.inf).argmin(axis=-1)
    return best
