"""The one door from configs to objects: what comes out is plain Python, what goes in was registered."""

from __future__ import annotations

from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from midcut.component import Kind
from midcut.config.registry import registry
from midcut.errors import ConfigError, MidcutError


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


def only(kind: Kind, nodes: Any, verb: str) -> str:
    """The name of the one node of a multi-select group.

    Raises:
        ConfigError: none, or several.
    """
    names = [str(name) for name in nodes]
    if len(names) != 1:
        raise ConfigError(f"{verb} works on one {kind}, got {', '.join(names) or 'none'}: say {kind}=NAME")
    return names[0]
