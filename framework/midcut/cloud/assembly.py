"""Builds a cloud from its config; how it is served is up to the caller."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
import torch

from midcut.cloud.app import make_app
from midcut.cloud.hosted import HostedModels
from midcut.cloud.relay import Relay
from midcut.component import Kind
from midcut.config.build import build, build_each, settings_of
from midcut.config.settings import CloudConfig
from midcut.edge.clouds.failover import Clouds
from midcut.edge.routes import build_transports, configs_by_url, telemetry_sources
from midcut.edge.telemetry.hub import TelemetryHub
from midcut.errors import ConfigError
from midcut.graph import partition
from midcut.graph.device_partition import DevicePartition
from midcut.graph.segments import Segments
from midcut.serving import check_credentials
from midcut.serving.threads import Threads
from midcut.wire import PAPER, codec_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aiohttp import web
    from omegaconf import DictConfig

    from midcut.cloud.tails import TailQueue
    from midcut.config.settings import CloudSettings, CutSettings, ServerSettings
    from midcut.graph import Partition
    from midcut.types import LoadedModel

_log = structlog.get_logger("midcut.cloud")


@dataclass(frozen=True)
class AssembledCloud:
    """A cloud ready to be served."""

    app: web.Application
    hosted: HostedModels
    server: ServerSettings
    settings: CloudSettings

    def decoding_threads(self) -> ThreadPoolExecutor:
        """Threads that decode large bodies, to be the event loop's default executor."""
        # torch.set_num_threads applies to the calling thread only, so each worker calls it.
        return ThreadPoolExecutor(initializer=torch.set_num_threads, initargs=(self.settings.thread_count,))


@contextmanager
def assemble(
    cfg: DictConfig, given: Mapping[str, tuple[LoadedModel, Partition]] | None = None
) -> Iterator[AssembledCloud]:
    """Load the models, warm them up and make the application; end its threads afterwards.

    Args:
        given: name -> a model and its cuts, in place of what the config names; None or empty loads those.

    Raises:
        ConfigError: a setting is out of bounds, a credential cannot be used, or there is no model.
    """
    config = settings_of(cfg, CloudConfig)
    settings, server = config.cloud, config.server
    check_credentials(server)
    torch.set_num_threads(settings.thread_count)
    segments = Segments(build(Kind.EXECUTOR, cfg.executor))
    models = given or _load(cfg, config.cuts)
    partition_of_model = {
        name: parts if settings.device == "cpu" else DevicePartition(parts, model, settings.device)
        for name, (model, parts) in models.items()
    }
    hosted = HostedModels(
        partition_of_model,
        settings.max_batch,
        build_each(Kind.CODEC, cfg.codec),
        models={name: model for name, (model, _) in models.items()},
        picture_limit_bytes=int(settings.max_picture_mb * 1_000_000),
    )
    try:
        with tail_threads(settings) as pool:
            pool.call(partial(hosted.warm_up, segments))
            if settings.batch_requests > 1:
                pool.call(hosted.learn_to_batch)
            make_relay = _relay_maker(cfg, config, hosted, segments)
            app = make_app(hosted, segments, pool, server, settings, make_relay, config.price)
            yield AssembledCloud(app, hosted, server, settings)
    finally:
        segments.close()


def _relay_maker(
    cfg: DictConfig, config: CloudConfig, hosted: HostedModels, segments: Segments
) -> Callable[[TailQueue], Relay] | None:
    """What makes the relay once there is a queue; None without `upstream_url`.

    Raises:
        ConfigError: a URL that is not one, or that is this cloud's own.
    """
    if config.upstream_url is None:
        return None
    configs = configs_by_url(cfg, "upstream_url")
    own = {f"{host}:{config.server.port}" for host in (config.server.host, "localhost", "127.0.0.1", "[::1]")}
    for url in configs:
        if url.partition("://")[2].rstrip("/") in own:
            raise ConfigError(f"upstream_url={url} is this cloud itself: name the next one")
    codecs = build_each(Kind.CODEC, cfg.codec)
    upstream = config.upstream
    clouds = Clouds(build_transports(configs, codecs), upstream.retry_after_s, upstream.breaker_failures)
    hub = TelemetryHub(telemetry_sources(configs), upstream.max_age_s)
    names = [name for name in codec_names(codecs) if name != PAPER]
    return lambda queue: Relay(hosted, queue, segments, clouds, hub, names)


def tail_threads(settings: CloudSettings) -> Threads:
    """The threads that compute tails."""
    # torch.set_num_threads applies to the calling thread only, so each worker calls it.
    return Threads(settings.workers, "tail", partial(torch.set_num_threads, settings.thread_count))


def _load(cfg: DictConfig, cuts: CutSettings) -> dict[str, tuple[LoadedModel, Partition]]:
    if not cfg.model:
        raise ConfigError("midcut cloud needs a model: set model=NAME or model='[NAME,NAME]'")
    loaded: dict[str, tuple[LoadedModel, Partition]] = {}
    for component in build_each(Kind.MODEL, cfg.model).values():
        model = component.load()
        parts = partition(model, cuts)
        loaded[model.name] = model, parts
        _log.info("model loaded", model=model.name, note=model.note, cuts=len(parts.legal), nodes=parts.node_count)
    return loaded
