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
from midcut.cloud.loading import VersionLoader
from midcut.cloud.relay import Relay
from midcut.cloud.repository import Repository
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
from midcut.serving.access import is_loopback
from midcut.serving.threads import Threads
from midcut.tensors import begin_computing
from midcut.wire import PAPER, codec_names
from midcut.wire.addresses import is_http_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aiohttp import web
    from omegaconf import DictConfig

    from midcut.cloud.tails import TailQueue
    from midcut.config.settings import CloudSettings, ServerSettings
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
    settings = settings_of(cfg, CloudConfig)
    cloud, server = settings.cloud, settings.server
    check_credentials(server)
    upstreams = _upstreams(cfg, settings)
    torch.set_num_threads(cloud.thread_count)
    segments = Segments(build(Kind.EXECUTOR, cfg.executor))
    _check_repository(settings)
    models, titles = (given, {}) if given else _load(cfg, settings)
    partition_of_model = {
        name: parts if cloud.device == "cpu" else DevicePartition(parts, model, cloud.device)
        for name, (model, parts) in models.items()
    }
    hosted = HostedModels(
        partition_of_model,
        cloud.max_batch,
        build_each(Kind.CODEC, cfg.codec),
        models={name: model for name, (model, _) in models.items()},
        picture_limit_bytes=int(cloud.max_picture_mb * 1_000_000),
    )
    try:
        with tail_threads(cloud) as pool:
            pool.call(partial(hosted.warm_up, segments))
            if cloud.batch_requests > 1:
                pool.call(hosted.learn_to_batch)
            make_relay = _relay_maker(cfg, settings, upstreams, hosted, segments)
            with _repository(cfg, settings, hosted, segments, titles) as repository:
                app = make_app(hosted, segments, pool, server, cloud, make_relay, settings.price, repository)
                yield AssembledCloud(app, hosted, server, cloud)
    finally:
        segments.close()


def _upstreams(cfg: DictConfig, settings: CloudConfig) -> dict[str, DictConfig]:
    """URL -> config of each upstream of a relay; none without `upstream_url`.

    Raises:
        ConfigError: a URL that is not one, or that is this cloud's own.
    """
    configs = {} if settings.upstream_url is None else configs_by_url(cfg, "upstream_url")
    own = {f"{host}:{settings.server.port}" for host in (settings.server.host, "localhost", "127.0.0.1", "[::1]")}
    for url in configs:
        if not is_http_url(url):
            raise ConfigError(f"upstream_url must be http://host:port, or https://, got {url!r:.200}")
        if url.partition("://")[2].rstrip("/") in own:
            raise ConfigError(f"upstream_url={url} is this cloud itself: name the next one")
    return configs


def _relay_maker(
    cfg: DictConfig, settings: CloudConfig, configs: dict[str, DictConfig], hosted: HostedModels, segments: Segments
) -> Callable[[TailQueue], Relay] | None:
    """A function that makes the relay from the queue; None without an upstream."""
    if not configs:
        return None
    codecs = build_each(Kind.CODEC, cfg.codec)
    upstream = settings.upstream
    clouds = Clouds(build_transports(configs, codecs), upstream.retry_after_s, upstream.breaker_failures)
    hub = TelemetryHub(telemetry_sources(configs), upstream.max_age_s)
    names = [name for name in codec_names(codecs) if name != PAPER]
    return lambda queue: Relay(hosted, queue, segments, clouds, hub, names)


@contextmanager
def _repository(
    cfg: DictConfig, settings: CloudConfig, hosted: HostedModels, segments: Segments, titles: dict[str, str]
) -> Iterator[Repository | None]:
    """The repository with its files loaded; None without `repository.folder`."""
    repository_settings, cloud = settings.repository, settings.cloud
    if repository_settings.folder is None:
        yield None
        return
    loader = VersionLoader(cfg.model, titles, settings.cuts, cloud.thread_count, repository_settings.timeout_s)
    begin = partial(torch.set_num_threads, cloud.thread_count)
    with Threads(1, "repository", begin) as thread:
        repository = Repository(
            hosted, loader, segments, thread, repository_settings, batching=cloud.batch_requests > 1
        )
        if repository_settings.load_at_start:
            repository.load_at_start()
        try:
            yield repository
        finally:
            loader.close()


def _check_repository(settings: CloudConfig) -> None:
    """Raise ConfigError for settings that cannot be combined with a repository; called before models are loaded."""
    server, key = settings.server, "repository.folder"
    if settings.repository.folder is None:
        return
    if settings.upstream_url is not None:
        raise ConfigError(f"{key}: a relay holds the models that it starts with; unset upstream_url")
    if settings.cloud.device != "cpu":
        raise ConfigError(f"{key} needs cloud.device=cpu, got {settings.cloud.device}")
    if settings.cuts.cache is None:
        raise ConfigError(f"{key} needs cuts.cache=FOLDER, as models are captured in a process of their own")
    if not (server.admin_token_env or server.admin_token_file or is_loopback(server.host)):
        raise ConfigError(
            f"{key} lets clients load and unload models: set server.admin_token_env or server.admin_token_file, "
            "or listen on 127.0.0.1"
        )


def tail_threads(settings: CloudSettings) -> Threads:
    """The threads that compute tails."""
    # Both settings hold for the calling thread only, so each worker calls it.
    return Threads(settings.workers, "tail", partial(begin_computing, settings.thread_count))


def _load(cfg: DictConfig, settings: CloudConfig) -> tuple[dict[str, tuple[LoadedModel, Partition]], dict[str, str]]:
    """The models by name; and for each name that of its component."""
    if not cfg.model and settings.repository.folder is None:
        raise ConfigError("midcut cloud needs a model: set model=NAME or model='[NAME,NAME]'")
    loaded: dict[str, tuple[LoadedModel, Partition]] = {}
    titles: dict[str, str] = {}
    for name, component in build_each(Kind.MODEL, cfg.model).items():
        model = component.load()
        parts = partition(model, settings.cuts)
        loaded[model.name] = model, parts
        titles[model.name] = name
        _log.info("model loaded", model=model.name, note=model.note, cuts=len(parts.legal), nodes=parts.node_count)
    return loaded, titles
