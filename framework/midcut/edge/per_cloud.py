"""One config, several clouds: what names `cloud_url` is made once for each of them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from midcut.component import Kind
from midcut.config.build import build
from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.protocols import TelemetrySource


def per_cloud(cfg: DictConfig) -> dict[str, DictConfig]:
    """URL -> the config with that one for `cloud_url`, in order.

    Raises:
        ConfigError: no URL, or something else than URLs.
    """
    told = cfg.cloud_url
    urls = list(told) if isinstance(told, ListConfig) else [told]
    if not urls or not all(isinstance(url, str) for url in urls):
        raise ConfigError(f"cloud_url must be a URL or a list of URLs, got {told}")
    made: dict[str, DictConfig] = {}
    for url in urls:
        made[url] = copy.deepcopy(cfg)
        OmegaConf.update(made[url], "cloud_url", url)
    return made


def telemetry_sources(by_url: Mapping[str, DictConfig]) -> dict[str, TelemetrySource]:
    """Name -> source. One that measures the way to the cloud is made for each; the first that is fresh counts."""
    sources: dict[str, TelemetrySource] = {}
    seen: dict[str, list[Any]] = {}
    for url, cfg in by_url.items():
        for name, node in cfg.telemetry.items():
            knobs = OmegaConf.to_container(node, resolve=True)
            if knobs in seen.setdefault(str(name), []):
                continue
            seen[str(name)].append(knobs)
            label = str(name) if not seen[str(name)][1:] else f"{name} to {url}"
            sources[label] = build(Kind.TELEMETRY, node)
    return sources
