"""Builds a cloud from its config; how it is served is up to the caller."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog
import torch
from omegaconf import OmegaConf

from midcut.cloud.app import make_app
from midcut.cloud.hosted import HostedModels
from midcut.component import Kind
from midcut.config.build import build, build_each
from midcut.errors import ConfigError
from midcut.graph import partition
from midcut.graph.device_partition import DevicePartition
from midcut.serving import check_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web
    from omegaconf import DictConfig

    from midcut.config.settings import CloudSettings, CutSettings, ServerSettings
    from midcut.graph import Partition

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
        # torch's thread count is per thread.
        return ThreadPoolExecutor(initializer=torch.set_num_threads, initargs=(self.settings.threads,))


@contextmanager
def assemble(cfg: DictConfig) -> Iterator[AssembledCloud]:
    """Load the models, warm them up and make the application; end its threads afterwards.

    Raises:
        ConfigError: a setting that cannot work, or no model.
    """
    settings = cast("CloudSettings", OmegaConf.to_object(cfg.cloud))
    server = cast("ServerSettings", OmegaConf.to_object(cfg.server))
    _check(settings)
    check_server(server, "server")
    torch.set_num_threads(settings.threads)
    executor = build(Kind.EXECUTOR, cfg.executor)
    hosted = HostedModels(_partitions(cfg, settings.device), settings.max_batch, build_each(Kind.CODEC, cfg.codec))
    try:
        with tail_threads(settings) as pool:
            pool.submit(hosted.warm_up).result()
            if settings.batch_requests > 1:
                pool.submit(hosted.learn_to_batch).result()
            yield AssembledCloud(make_app(hosted, executor, pool, server, settings), hosted, server, settings)
    finally:
        executor.close()


def tail_threads(settings: CloudSettings) -> ThreadPoolExecutor:
    """The threads that compute tails."""
    # torch's thread count is per thread.
    return ThreadPoolExecutor(settings.workers, "tail", torch.set_num_threads, (settings.threads,))


def _check(settings: CloudSettings) -> None:
    for name in ("threads", "workers", "max_batch", "batch_requests"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"cloud.{name} must be at least 1, got {getattr(settings, name)}")
    if settings.queue < 0 or not settings.batch_delay_s >= 0.0:
        raise ConfigError("cloud.queue and cloud.batch_delay_s must be 0 or more")


def _partitions(cfg: DictConfig, device: str) -> dict[str, Partition]:
    if not cfg.model:
        raise ConfigError("midcut cloud needs a model: set model=NAME or model='[NAME,NAME]'")
    cuts = cast("CutSettings", OmegaConf.to_object(cfg.cuts))
    partitions: dict[str, Partition] = {}
    for component in build_each(Kind.MODEL, cfg.model).values():
        model = component.load()
        parts = partition(model, cuts)
        partitions[model.name] = parts if device == "cpu" else DevicePartition(parts, model, device)
        _log.info("model loaded", model=model.name, note=model.note, cuts=len(parts.legal), nodes=parts.node_count)
    return partitions
