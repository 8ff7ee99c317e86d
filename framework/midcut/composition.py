"""Turns what plugins offer into Hydra config nodes, and tells Hydra where presets lie."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf, open_dict

from midcut import settings
from midcut.plugins import registry

if TYPE_CHECKING:
    from hydra.core.config_search_path import ConfigSearchPath

    from midcut.plugins import Offer


def conf_dir() -> Path:
    """The folder of primary configs: inside the package in a wheel, `conf/` in a checkout.

    Raises:
        FileNotFoundError: neither is there; the installation is broken.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / "conf", package.parents[1] / "conf"):
        if (candidate / "plan.yaml").is_file():
            return candidate
    raise FileNotFoundError(f"midcut's conf folder is neither in {package} nor beside its sources; reinstall midcut")


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
    for offer in registry().offers.values():
        _store(store, offer)
    Plugins.instance().register(PluginPresets)


def _store(store: ConfigStore, offer: Offer) -> None:
    kind, component = offer.kind, offer.component
    node = OmegaConf.structured(component.config)
    with open_dict(node):
        node["_target_"] = component.target
    package = kind.value.replace("/", ".")
    store.store(
        group=kind.value,
        name=component.name,
        node=node,
        package=f"{package}.{component.name}" if kind.several else package,
        provider=offer.source.distribution,
    )
