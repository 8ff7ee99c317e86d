"""Builds predictors, cost model, planner and codecs from a config, and puts them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from midcut.component import Kind
from midcut.config.build import build, build_each
from midcut.planning.placements import accurate_codecs
from midcut.planning.policy import Forecaster, Policy
from midcut.planning.tiers import MiddlePredictor, SecondLinkPredictor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omegaconf import DictConfig

    from midcut.protocols import Codec, Planner
    from midcut.types import Placements

_log = structlog.get_logger("midcut.planning")


def build_codecs(config: DictConfig) -> dict[str, Codec]:
    """Build the codecs of the group `codec` that satisfy `accuracy_floor`, and log which ones do not.

    Raises:
        ConfigError: none is left.
    """
    return offer_codecs(build_each(Kind.CODEC, config.codec), config.accuracy_floor)


def offer_codecs(chosen: Mapping[str, Codec], accuracy_floor: float | None) -> dict[str, Codec]:
    """The codecs that satisfy `accuracy_floor`; logs which ones do not.

    Raises:
        ConfigError: none is left.
    """
    offered = accurate_codecs(chosen, accuracy_floor)
    for name in chosen.keys() - offered.keys():
        _log.warning("codec left out", codec=name, agreement=chosen[name].agreement, accuracy_floor=accuracy_floor)
    return offered


def build_policy(
    config: DictConfig, placements: Placements, reply_timeout_s: float | None = None, planner: Planner | None = None
) -> Policy:
    """Build the policy that the config groups `predictor`, `cost`, `objective` and `planner` describe.

    Args:
        reply_timeout_s: see `Policy`.
        planner: one that goes on, with what it has learnt; None builds one.
    """
    return Policy(
        placements,
        **_build_columns(config, config.predictor, placements),
        planner=build(Kind.PLANNER, config.planner) if planner is None else planner,
        reply_timeout_s=reply_timeout_s,
    )


def build_forecaster(config: DictConfig, predictor: DictConfig, placements: Placements) -> Forecaster:
    """Build a forecaster with the predictors of one node, which has the keys `edge`, `link` and `cloud`.

    Args:
        config: has the groups `cost` and `objective`, and `aim`.
        predictor: e.g. `config.truth`.
    """
    return Forecaster(placements, **_build_columns(config, predictor, placements))


def _build_columns(config: DictConfig, predictor: DictConfig, placements: Placements) -> dict[str, Any]:
    objectives = tuple(build_each(Kind.OBJECTIVE, config.objective, placements=placements).values())
    second = config.aim.second
    if second is None:  # a user who chooses an objective wants it weighed
        second = next(
            (objective.column for objective in objectives if objective.column != config.aim.first), "cost_usd"
        )
    return {
        **_build_predictors(predictor, placements),
        "cost": build(Kind.COST, config.cost),
        "objectives": objectives,
        "aim": (config.aim.first, second),
    }


def _build_predictors(nodes: DictConfig, placements: Placements) -> dict[str, Any]:
    edge, link = (
        build(kind, nodes[role], placements=placements)
        for role, kind in (("edge", Kind.EDGE_PREDICTOR), ("link", Kind.LINK_PREDICTOR))
    )
    onward = placements.onward
    if onward is None:
        return {"edge": edge, "link": link, "cloud": build(Kind.CLOUD_PREDICTOR, nodes.cloud, placements=placements)}
    relay = nodes.get("relay", nodes.cloud)
    from_first, from_second = (build(Kind.CLOUD_PREDICTOR, relay, placements=start) for start in (placements, onward))
    second = build(Kind.LINK_PREDICTOR, nodes.get("second_link", nodes.link), placements=onward)
    between = {"relay": MiddlePredictor(from_first, from_second), "second_link": SecondLinkPredictor(second, onward)}
    cloud = build(Kind.CLOUD_PREDICTOR, nodes.cloud, placements=onward)
    return {"edge": edge, "link": link, "cloud": cloud, "between": between}
