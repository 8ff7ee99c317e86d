"""Gives Hydra the config nodes of all components and the folders with presets."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Self

import hydra
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import open_dict

from midcut.component import STRATEGY, Kind
from midcut.config import settings
from midcut.config.chains import CodecNodes
from midcut.config.folders import conf_dir
from midcut.config.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hydra.core.config_search_path import ConfigSearchPath
    from omegaconf import DictConfig


class _UncopiedDict(dict[str, Any]):
    """A config store that `copy.deepcopy` returns as it is, which makes composing faster.

    Hydra copies the whole store at every look-up, several times for one config. With a hundred models in it a copy
    takes tens of milliseconds. It is safe to leave out, because Hydra also copies each node that it loads.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class PluginPresets(SearchPathPlugin):
    """Adds the folders that plugins return from the hook `midcut_config_path` to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for distribution, path in registry().config_paths:
            search_path.append(provider=distribution, path=path)


@functools.cache
def register() -> None:
    """Put every component and every schema of the core into Hydra's config store, once."""
    store = ConfigStore.instance()
    for verb, schema in settings.SCHEMAS.items():
        store.store(name=f"{verb}_schema", node=schema, provider="midcut")
    for group, name, node in settings.NODES:
        store.store(group=group, name=name, node=node, provider="midcut")
    for (kind, name), offer in registry().offers.items():
        package = kind.value.replace("/", ".")
        distribution = offer.source.distribution
        _store_node(store, kind.value, name, offer.node, f"{package}.{name}" if kind.several else package, distribution)
        if kind is Kind.PLANNER:
            _store_node(store, STRATEGY, name, offer.node, f"{STRATEGY}.{name}", distribution)
    store.repo[Kind.CODEC.value] = CodecNodes(store.repo[Kind.CODEC.value])
    store.repo = _UncopiedDict(store.repo)
    Plugins.instance().register(PluginPresets)


def compose(verb: str, overrides: Iterable[str] = ()) -> DictConfig:
    """Compose the config of `midcut VERB OVERRIDES` without running the verb.

    Raises:
        hydra.errors.HydraException: an override is invalid.
    """
    return compose_with_choices(verb, overrides)[0]


def compose_with_choices(verb: str, overrides: Iterable[str] = ()) -> tuple[DictConfig, dict[str, Any]]:
    """Do the same; also returns what is chosen in each config group.

    Raises:
        hydra.errors.HydraException: an override is invalid.
    """
    register()
    if _is_in_verb():
        return _compose(verb, overrides)
    # A program that calls midcut may be a Hydra application itself, which goes on afterwards.
    other = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return _compose(verb, overrides)
    finally:
        GlobalHydra.instance().hydra = other


def _is_in_verb() -> bool:
    """Whether Hydra was started by a verb, whose folder is the same; it may have been given further ones."""
    if not GlobalHydra.instance().is_initialized():
        return False
    folders = GlobalHydra.instance().config_loader().get_search_path().get_path()
    return any(folder.path.removeprefix("file://") == str(conf_dir()) for folder in folders if folder.path)


def _compose(verb: str, overrides: Iterable[str]) -> tuple[DictConfig, dict[str, Any]]:
    cfg = hydra.compose(verb, overrides=list(overrides), return_hydra_config=True)
    choices = dict(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, choices


def _store_node(store: ConfigStore, group: str, name: str, node: DictConfig, package: str, provider: str) -> None:
    """Do what `ConfigStore.store` does, but without building the node a second time."""
    folder = store.repo
    for part in group.split("/"):
        folder = folder.setdefault(part, {})
    file = f"{name}.yaml"
    folder[file] = ConfigNode(name=file, node=node, group=group, package=package, provider=provider)
