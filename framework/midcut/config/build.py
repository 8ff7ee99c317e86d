"""Builds components from config nodes: the only place where a config becomes an object, and only a registered one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from midcut.chains import Chain, is_chain, stage_names
from midcut.component import Kind
from midcut.config.registry import registry
from midcut.errors import ConfigError, ForecastError

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
# A setting that takes the value of another one: ${cloud_url}, ${oc.select:transport.tls_ca,null}.
_REFERENCE: Final = re.compile(r"\$\{(?:oc\.select:)?(\w[\w.]*)(?:,[^}]*)?\}")


def build(kind: Kind, node: DictConfig, **context: Any) -> Any:
    """Build the component that a config node describes.

    Args:
        kind: of the component.
        node: the config under the kind's group, as composed by Hydra.
        context: the keyword arguments that `midcut.protocols` defines for the kind (`placements`, `name`, `codecs`).

    Returns:
        an object that implements the kind's protocol.

    Raises:
        ConfigError: no plugin registered the node's target for the kind, or a setting has an invalid value.
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
        # Not recursive: a setting is data, even if it has a `_target_` of its own. The context goes directly to it,
        # as Hydra would make configs of it.
        make = hydra.utils.instantiate(node, _partial_=True, _convert_="object", _recursive_=False)
        # A component with a setting of the same name, such as timm's `name`, has no use for that part of the context.
        return make(**{key: value for key, value in context.items() if key not in node})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{_with_key(str(error), node)} ({target})") from error
    except (ConfigError, ForecastError) as error:
        raise type(error)(_with_key(str(error), node)) from None
    except InstantiationException as error:
        cause = error.__cause__
        if cause is not None:
            raise cause from None
        raise ConfigError(f"{kind}: {' '.join(str(error).split())}") from error


def component_name(kind: Kind, node: DictConfig) -> str:
    """The name of the component that a config node describes; its target where it is not registered."""
    target = str(node.get("_target_"))
    named = (name for (of, name), offer in registry().offers.items() if of is kind and offer.component.target == target)
    return next(named, target)


def _with_key(reason: str, node: DictConfig) -> str:
    """Why a component cannot be built, with the key of the setting that the reason mentions, else the component's."""
    place = str(node._get_full_key(None))  # noqa: SLF001 - OmegaConf has no public way to ask a node where it is
    named = re.match(rf"{re.escape(place)}\.(\w+)\b", reason)
    if place and named and named[1] in node:
        return _given_key(node, named[1]) + reason[named.end() :]
    if not place or f"{place}." in reason:
        return reason
    setting = next((word for word in re.findall(r"\w+", reason) if word in node.keys()), None)  # noqa: SIM118 - a config node
    if setting is None:
        return f"{place}: {reason}"
    key = _given_key(node, setting)
    return f"{key}{reason.removeprefix(setting)}" if reason.startswith(setting) else f"{key}: {reason}"


def _given_key(node: DictConfig, setting: str) -> str:
    """The full key of the setting that gives a setting its value: its own, unless it refers to another one."""
    settings = OmegaConf.to_container(node._get_root(), resolve=False)  # noqa: SLF001 - as above

    def value_of(key: str) -> Any:
        value: Any = settings
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    key = f"{node._get_full_key(None)}.{setting}"  # noqa: SLF001
    while (reference := _REFERENCE.fullmatch(str(value_of(key)))) and value_of(reference[1]) is not None:
        key = reference[1]
    return key


def build_each(kind: Kind, nodes: DictConfig, **context: Any) -> dict[str, Any]:
    """Build all components of a group that is a list; returns name -> component, in the order of the config."""
    if kind is Kind.CODEC:
        return {str(name): _build_codec(str(name), node) for name, node in nodes.items()}
    named = kind is Kind.MODEL
    return {
        str(name): build(kind, node, **context, **({"name": str(name)} if named else {}))
        for name, node in nodes.items()
    }


def _build_codec(name: str, node: DictConfig) -> Any:
    if not is_chain(name):
        return build(Kind.CODEC, node, name=name)
    return Chain(name, [build(Kind.CODEC, node[stage], name=stage) for stage in stage_names(name)])


def settings_of(cfg: DictConfig, schema: Callable[..., _T]) -> _T:
    """The settings of a verb as an object, which checks their bounds.

    Args:
        cfg: the whole config of the verb.
        schema: its dataclass in `midcut.config.settings`. What is declared as Any there, such as the nodes of
            components, is passed on as it is.

    Raises:
        ConfigError: a setting is out of bounds.
    """
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(schema).items():
        value = cfg[name]
        values[name] = OmegaConf.to_object(value) if hint is not Any and OmegaConf.is_config(value) else value
    return schema(**values)


def single_name(kind: Kind, nodes: Any, verb: str) -> str:
    """The name of the only component chosen in a group that is a list.

    Raises:
        ConfigError: none or several are chosen.
    """
    names = [str(name) for name in nodes]
    if len(names) != 1:
        raise ConfigError(f"{verb} works on one {kind}, got {', '.join(names) or 'none'}: give {kind}=NAME")
    return names[0]
