"""Makes predictors, cost model, planner and codecs from a config, and puts them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from midcut.component import Kind
from midcut.config.build import build, build_each
from midcut.planning.placements import accurate
from midcut.planning.policy import Forecaster, Policy

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.protocols import Codec
    from midcut.types import Placements

_log = structlog.get_logger("midcut.planning")


def build_codecs(config: DictConfig) -> dict[str, Codec]:
    """The codecs of the group `codec` that keep `accuracy_floor`; the others are named in the log.

    Raises:
        ConfigError: none is left.
    """
    chosen = build_each(Kind.CODEC, config.codec)
    left = accurate(chosen, config.accuracy_floor)
    for name in chosen.keys() - left.keys():
        _log.warning(
            "codec left out", codec=name, agreement=chosen[name].agreement, accuracy_floor=config.accuracy_floor
        )
    return left


def build_policy(config: DictConfig, placements: Placements, reply_timeout_s: float | None = None) -> Policy:
    """Predictors, cost model and planner as the groups `predictor`, `cost` and `planner` choose them.

    Args:
        reply_timeout_s: as `Policy` takes it.
    """
    parts = _predictors(config.predictor, placements)
    cost = build(Kind.COST, config.cost)
    return Policy(
        placements, **parts, cost=cost, planner=build(Kind.PLANNER, config.planner), reply_timeout_s=reply_timeout_s
    )


def build_forecaster(predictor: DictConfig, cost: DictConfig, placements: Placements) -> Forecaster:
    """A set of predictors, with the keys `edge`, `link` and `cloud`, and a cost model."""
    return Forecaster(placements, **_predictors(predictor, placements), cost=build(Kind.COST, cost))


def _predictors(nodes: DictConfig, placements: Placements) -> dict[str, Any]:
    kinds = {"edge": Kind.EDGE_PREDICTOR, "link": Kind.LINK_PREDICTOR, "cloud": Kind.CLOUD_PREDICTOR}
    return {role: build(kind, nodes[role], placements=placements) for role, kind in kinds.items()}
