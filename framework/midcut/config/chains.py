"""Chains of codecs in a config: the node of `int8-zstd` has one for each stage, as in `codec.int8-zstd.zstd.level`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hydra.core.config_store import ConfigNode
from omegaconf import DictConfig, OmegaConf

from midcut.chains import is_chain, stage_names
from midcut.component import Kind
from midcut.config.registry import registry
from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUFFIX: Final = ".yaml"
_OTHER_SEPARATORS: Final = re.compile(r"^\w+([+|>.]\w+)+$")


def chain_node(name: str) -> DictConfig:
    """The config node of a chain: the node of each stage, by name.

    Raises:
        ConfigError: an empty stage, or one that stands there twice.
        UnknownComponentError: a stage that is no codec.
    """
    offers = registry().offers
    stages = stage_names(name)
    for stage in stages:
        if (Kind.CODEC, stage) not in offers:
            raise registry().unknown(Kind.CODEC, stage)
    node = OmegaConf.create({stage: offers[Kind.CODEC, stage].node for stage in stages})
    OmegaConf.set_struct(node, value=True)
    return node


def check_chain(name: str) -> None:
    """Check the name of a codec that may be that of a chain.

    Raises:
        ConfigError, UnknownComponentError: as `chain_node`; or another character than `-` stands between the stages.
    """
    if is_chain(name):
        chain_node(name)
    elif _OTHER_SEPARATORS.match(name):
        raise ConfigError(f"codec={name}: a chain of codecs is written with '-', e.g. codec=int8-zstd")


class CodecNodes(dict[str, Any]):
    """The nodes of the group `codec` in Hydra's config store, to which a chain is added when it is first named."""

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        super().__init__(nodes)

    def __contains__(self, file: object) -> bool:
        return super().__contains__(file) or (isinstance(file, str) and is_chain(file))

    def __missing__(self, file: str) -> ConfigNode:
        name = file.removesuffix(_SUFFIX)
        made = ConfigNode(
            name=file,
            node=chain_node(name),
            group=Kind.CODEC.value,
            package=f"{Kind.CODEC.value}.{name}",
            provider="midcut",
        )
        self[file] = made
        return made
