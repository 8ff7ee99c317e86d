"""Turns what plugins offer into Hydra config nodes, and tells Hydra where presets lie."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Self

import hydra
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from midcut.component import STRATEGY, Kind
from midcut.config import settings
from midcut.config.folders import conf_dir
from midcut.config.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hydra.core.config_search_path import ConfigSearchPath
    from omegaconf import DictConfig


class _Shared(dict[str, Any]):
    """The store's nodes, copied by nobody: Hydra copies the whole store for every question it asks of it.

    A node is copied again when it is loaded, so that sharing the store is safe. With a hundred models
    in it, each copy costs tens of milliseconds, and composing one config takes several.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class PluginPresets(SearchPathPlugin):
    """Adds the folders that plugins name in `midcut_config_path`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for distribution, path in registry().config_paths:
            search_path.append(provider=distribution, path=path)


@functools.cache
def register() -> None:
    """Put every component and every core schema into Hydra's config store, once."""
    store = ConfigStore.instance()
    for verb, schema in settings.SCHEMAS.items():
        store.store(name=f"{verb}_schema", node=schema, provider="midcut")
    for group, name, node in settings.NODES:
        store.store(group=group, name=name, node=node, provider="midcut")
    for (kind, name), offer in registry().offers.items():
        package = kind.value.replace("/", ".")
        distribution = offer.source.distribution
        _put(store, kind.value, name, offer.node, f"{package}.{name}" if kind.several else package, distribution)
        if kind is Kind.PLANNER:
            _put(store, STRATEGY, name, offer.node, f"{STRATEGY}.{name}", distribution)
    store.repo = _Shared(store.repo)
    Plugins.instance().register(PluginPresets)


def compose(verb: str, overrides: Iterable[str] = ()) -> DictConfig:
    """The config of `midcut VERB OVERRIDES`, outside of a run of Hydra's.

    Raises:
        hydra.errors.HydraException: an override that does not fit.
    """
    register()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(verb, overrides=list(overrides))


def _put(store: ConfigStore, group: str, name: str, node: DictConfig, package: str, provider: str) -> None:
    """What `ConfigStore.store` does, without making the node anew."""
    folder = store.repo
    for part in group.split("/"):
        folder = folder.setdefault(part, {})
    file = f"{name}.yaml"
    folder[file] = ConfigNode(name=file, node=node, group=group, package=package, provider=provider)
