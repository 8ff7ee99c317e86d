"""Learns what link and cloud take for each cut from the requests themselves, without a profile of either."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import ConfigError
from midcut.planning import check_forecast, check_weight

if TYPE_CHECKING:
    from midcut.types import Floats, Forecast, InferenceResult, Ints, Node, Observation, Placement, Placements

_GROUPS = (("conv", "depthwise", "pointwise"), ("linear", "matmul", "attention"), ("activation", "norm"))
_BYTES = 2 * len(_GROUPS)  # index of the bytes among the features
_FLOAT_BYTES = 4
# In full scales, the seconds of the bytes are some 100 times as uncertain as those of the cloud, and change with the
# link: a delay that is not as expected says something of the bytes first.
_BYTES_WEIGHT = 100.0


class LinUcb:
    """A contextual bandit over the cuts (Zhang et al. 2021, Autodidactic Neurosurgeon, WWW; LinUCB, Li et al. 2010).

    The delay of what is not done at the edge, transfer and tail, is taken as linear in features of the tail: numbers
    and multiply-adds of its convolutions, dense layers and activations, and bytes sent. Each cut's estimate is its
    predicted edge seconds, plus the learnt delay, minus a bonus for what is not yet known: the smallest wins. Where
    nothing is sent there is nothing to learn, but what is known becomes uncertain there, too. Unlike in the published
    code, features are scaled by their maxima and have a constant, seconds a byte are the first to be doubted, and old
    requests count less and less, so that a change of the link is followed. The weight has no effect.

    A cut that is believed to be slow is not tried by that, so that a link that has become faster stays unused. With a
    `budget`, each answered request earns a share of the best cut's seconds, and the most promising other cut is tried
    once what it is expected to cost has been earned (after Wu et al. 2016, Conservative Bandits, ICML). What would
    have to be saved up for too long is passed over: a cheaper one says much of the link, too.

    Args:
        alpha: size of the bonus, seconds.
        beta: ridge regularisation.
        discount: by which everything learnt is multiplied at each answer.
        anchor: how certain of its last mean a feature stays that no request shows any more.
        importance: share of the bonus that is left out; frames that matter are not for exploring.
        forced: send at least every ceil(horizon^(1/4))-th request, so that a cut at the edge is not kept for ever.
        horizon: number of requests that `forced` expects.
        budget: share of the seconds that may be spent on trying cuts that are believed to be slower; 0 tries none.
        optimism: like `alpha`, for which other cut is the most promising one, as a share of the best cut's seconds.
        patience: number of requests whose earnings pay for what is tried, where less has been earned.

    Raises:
        ConfigError: a setting is out of bounds.
    """

    w = None

    def __init__(
        self,
        alpha: float = 0.0,
        beta: float = 0.01,
        discount: float = 0.95,
        anchor: float = 0.03,
        importance: float = 0.0,
        horizon: int = 500,
        *,
        forced: bool = False,
        budget: float = 0.015,
        optimism: float = 0.12,
        patience: int = 50,
    ) -> None:
        for name, value, legal in (
            ("alpha", alpha, 0.0 <= alpha < math.inf),
            ("beta", beta, 0.0 < beta < math.inf),
            ("discount", discount, 0.0 < discount <= 1.0),
            ("anchor", anchor, 0.0 < anchor < math.inf),
            ("importance", importance, 0.0 <= importance <= 1.0),
            ("horizon", horizon, horizon >= 1),
            ("budget", budget, 0.0 <= budget < 1.0),
            ("optimism", optimism, 0.0 <= optimism < math.inf),
            ("patience", patience, patience >= 0),
        ):
            if not legal:
                raise ConfigError(f"planner linucb: {name}={value} is out of bounds")
        self._alpha, self._beta = alpha * math.sqrt(1.0 - importance), beta
        self._discount, self._anchor = discount, anchor
        self._every = math.ceil(horizon**0.25) if forced else 0
        self._budget, self._optimism, self._patience = budget, optimism, patience
        self._earned_s, self._best_s = 0.0, 0.0
        self._trial: tuple[Placement, float] | None = None
        self._answers = 0
        self._features_of: dict[Placement, Floats] = {}
        self._scale: Floats | None = None
        self._placements: Placements | None = None
        self._features: Floats = np.zeros((0, 0))
        # Precision and moments together, replaced as one: planning reads them while answers come in.
        self._learnt: tuple[Floats, Floats] = np.zeros((0, 0)), np.zeros(0)

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """See `midcut.protocols.Planner`."""
        weights = check_weight(w)
        check_forecast(forecast)
        mean_s, spread = self._tail_estimate(forecast.placements)
        expected_s = forecast.edge_s + mean_s
        estimate_s = expected_s - self._alpha * spread
        sends = ~forecast.placements.on_edge
        if self._every and self._answers % self._every == self._every - 1 and sends.any():
            estimate_s = np.where(sends, estimate_s, np.inf)
        picks: Ints = np.asarray(estimate_s.argmin(axis=-1))
        if self._budget and picks.ndim == 0:
            picks = self._within_budget(forecast.placements, int(picks), expected_s, estimate_s, spread)
        return np.broadcast_to(picks, np.broadcast_shapes(picks.shape, weights.shape))

    def answered(self, placement: Placement, observation: Observation, result: InferenceResult) -> None:  # noqa: ARG002
        """See `midcut.protocols.Learner`: learn the delay of a request that the cloud answered; forget a little."""
        self._answers += 1
        self._earned_s += self._budget * self._best_s
        trial = self._trial  # planning replaces it meanwhile
        if trial is not None and trial[0] == placement:
            self._earned_s -= trial[1]
        features = self._features_of.get(placement)
        lasting = all(part == "edge" for part in result.stand_in)  # else PyTorch stood in for the cloud's runtime
        if result.finished_by == "cloud" and features is not None and lasting:
            self.learn(features, sum(result.parts.values()) - result.edge_s)
        elif self._scale is not None:
            self._learnt = self._faded()

    def learn(self, features: Floats, delay_s: float) -> None:
        """Add one delay with its features, shape (F,)."""
        precision, moments = self._faded()
        self._learnt = precision + np.outer(features, features), moments + features * delay_s

    def _faded(self) -> tuple[Floats, Floats]:
        """What no request shows for long becomes uncertain, but keeps its mean: it does not fade to zero seconds."""
        keep, forgotten = self._discount, (1.0 - self._discount) * self._anchor
        precision, moments = self._learnt
        present = np.linalg.solve(precision, moments)
        return keep * precision + forgotten * np.eye(len(present)), keep * moments + forgotten * present

    def _within_budget(
        self, placements: Placements, pick: int, expected_s: Floats, estimate_s: Floats, spread: Floats
    ) -> Ints:
        """The most promising other cut, if what it is expected to cost has been earned; else the pick."""
        self._best_s = max(float(expected_s[pick]), 0.0)
        self._trial = None
        costs_s = np.maximum(expected_s - self._best_s, 0.0)
        most_s = max(self._earned_s, self._patience * self._budget * self._best_s)
        hoped_s = np.where(costs_s <= most_s, expected_s - self._optimism * self._best_s * spread, np.inf)
        hoped_s[pick] = np.inf
        other = int(hoped_s.argmin())
        if hoped_s[other] >= estimate_s[pick] or costs_s[other] > self._earned_s:
            return np.asarray(pick)
        self._trial = placements[other], float(costs_s[other])
        return np.asarray(other)

    def _tail_estimate(self, placements: Placements) -> tuple[Floats, Floats]:
        """Learnt delay, seconds, and how uncertain it is, each of shape (P,)."""
        if placements is not self._placements:
            self._use(placements)
        precision, moments = self._learnt
        inverse = np.linalg.inv(precision)
        mean = self._features @ (inverse @ moments)
        spread = np.einsum("pf,fg,pg->p", self._features, inverse, self._features)
        return mean, np.sqrt(np.maximum(spread, 0.0))

    def _use(self, placements: Placements) -> None:
        """Take the features of these placements; what was learnt stays."""
        raw = tail_features(placements)
        if self._scale is None or len(self._scale) != raw.shape[1]:
            largest = raw.max(axis=0, initial=0.0)
            scale = np.where(largest > 0.0, largest, 1.0)
            scale[_BYTES] /= _BYTES_WEIGHT
            self._learnt = self._beta * np.eye(raw.shape[1]), np.zeros(raw.shape[1])
            self._scale = scale  # last, because from then on answers fade what was learnt
        self._placements, self._features = placements, raw / self._scale
        self._features_of = {placements[row]: self._features[row] for row in range(len(placements))}


def tail_features(placements: Placements) -> Floats:
    """Features of what follows each placement, shape (P, 8): counts and work of three groups, bytes, 1 if it sends."""
    counts = np.array([[node.kind in group for node in placements.graph_nodes] for group in _GROUPS], dtype=np.float64)
    work = np.array([_work(node) for node in placements.graph_nodes])
    columns = []
    for group in counts:
        for values in (group, group * work):
            tails = np.concatenate([values[::-1].cumsum()[::-1], [0.0]])
            known = len(placements.graph_nodes) == placements.nodes
            columns.append(tails[placements.cut] if known else np.zeros(len(placements)))
    sends = (~placements.on_edge).astype(np.float64)
    return np.column_stack([*columns, placements.request_bytes, np.ones(len(placements))]) * sends[:, None]


def _work(node: Node) -> float:
    return float(node.macs or node.out_bytes / _FLOAT_BYTES)
