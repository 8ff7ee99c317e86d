"""The one door from configs to objects: what comes out is plain Python, what goes in was registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hydra.utils
import structlog
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from midcut.component import Kind
from midcut.errors import ConfigError, MidcutError
from midcut.placements import accurate
from midcut.plugins import registry
from midcut.policy import Forecaster, Policy

if TYPE_CHECKING:
    from midcut.protocols import Codec
    from midcut.types import Placements

_log = structlog.get_logger("midcut.build")


def build(kind: Kind, node: DictConfig, **context: Any) -> Any:
    """Make the component a config node describes.

    Args:
        kind: what it must be.
        node: the config under the kind's group, as composed by Hydra.
        context: keywords that `midcut.protocols` states for the kind (`placements`, `name`, `codecs`).

    Returns:
        an object that fulfils the kind's protocol.

    Raises:
        ConfigError: the node names a target no plugin registered for the kind, or its knobs do not fit.
    """
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if target not in registry().targets(kind):
        raise ConfigError(
            f"{kind}: {target!r} is not the target of a registered component; choose one by name: {kind}=NAME"
        )
    unset = sorted(OmegaConf.missing_keys(node))
    if unset:
        raise ConfigError(f"{unset[0]} must be given: {unset[0]}=...")
    try:
        # Not recursive: a knob is data, also when it looks like something to instantiate.
        return hydra.utils.instantiate(node, **context, _convert_="object", _recursive_=False)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, MidcutError):
            raise cause from None
        if isinstance(cause, TypeError | ValueError):
            raise ConfigError(f"{kind} ({target}): {cause}") from cause
        if cause is not None:
            raise cause from None
        raise ConfigError(f"{kind}: {' '.join(str(error).split())}") from error


def build_each(kind: Kind, nodes: DictConfig) -> dict[str, Any]:
    """Make all components of a multi-select group, by name, in config order."""
    named = kind in (Kind.MODEL, Kind.CODEC)
    return {str(name): build(kind, node, **({"name": str(name)} if named else {})) for name, node in nodes.items()}


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


def only(kind: Kind, nodes: Any, verb: str) -> str:
    """The name of the one node of a multi-select group.

    Raises:
        ConfigError: none, or several.
    """
    names = [str(name) for name in nodes]
    if len(names) != 1:
        raise ConfigError(f"{verb} works on one {kind}, got {', '.join(names) or 'none'}: say {kind}=NAME")
    return names[0]


def build_policy(config: DictConfig, placements: Placements, waits_s: float | None = None) -> Policy:
    """Predictors, cost model and planner as the groups `predictor`, `cost` and `planner` choose them.

    Args:
        waits_s: as `Policy` takes it.
    """
    parts = _predictors(config.predictor, placements)
    cost = build(Kind.COST, config.cost)
    return Policy(placements, **parts, cost=cost, planner=build(Kind.PLANNER, config.planner), waits_s=waits_s)


def build_forecaster(predictor: DictConfig, cost: DictConfig, placements: Placements) -> Forecaster:
    """A set of predictors, with the keys `edge`, `link` and `cloud`, and a cost model."""
    return Forecaster(placements, **_predictors(predictor, placements), cost=build(Kind.COST, cost))


def _predictors(nodes: DictConfig, placements: Placements) -> dict[str, Any]:
    kinds = {"edge": Kind.EDGE_PREDICTOR, "link": Kind.LINK_PREDICTOR, "cloud": Kind.CLOUD_PREDICTOR}
    return {role: build(kind, nodes[role], placements=placements) for role, kind in kinds.items()}
