"""What an edge, or a relay, needs for each cloud it may send to: a config, telemetry sources and a transport."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from midcut.component import Kind
from midcut.config.build import build
from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.protocols import Codec, TelemetrySource, Transport


def configs_by_url(cfg: DictConfig, key: str = "cloud_url") -> dict[str, DictConfig]:
    """URL -> the config with that URL alone as `cloud_url`, in order of preference.

    Args:
        key: name of the setting that lists the URLs.

    Raises:
        ConfigError: no URL, or a value that is not a URL.
    """
    urls = list(cfg[key]) if isinstance(cfg[key], ListConfig) else [cfg[key]]
    if not urls or not all(isinstance(url, str) for url in urls):
        raise ConfigError(f"{key} must be a URL or a list of URLs, got {cfg[key]}")
    configs: dict[str, DictConfig] = {}
    for url in urls:
        configs[url] = copy.deepcopy(cfg)
        OmegaConf.update(configs[url], "cloud_url", url)
    return configs


def telemetry_sources(configs: Mapping[str, DictConfig]) -> dict[str, TelemetrySource]:
    """Name -> source, in order of priority. A source whose settings use `cloud_url` is built once for each cloud."""
    sources: dict[str, TelemetrySource] = {}
    settings_by_name: dict[str, list[Any]] = {}
    for url, cfg in configs.items():
        for name, node in cfg.telemetry.items():
            settings = OmegaConf.to_container(node, resolve=True)
            earlier = settings_by_name.setdefault(str(name), [])
            if settings not in earlier:
                sources[f"{name} to {url}" if earlier else str(name)] = build(Kind.TELEMETRY, node)
                earlier.append(settings)
    return sources


def build_transports(configs: Mapping[str, DictConfig], codecs: Mapping[str, Codec]) -> dict[str, Transport]:
    """URL -> transport, in order of preference."""
    return {url: build(Kind.TRANSPORT, cfg.transport, codecs=codecs) for url, cfg in configs.items()}
