"""A cloud put together from its config, whatever serves it afterwards."""

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
    knobs: CloudSettings

    def decoders(self) -> ThreadPoolExecutor:
        """Threads that decode big bodies: the event loop's default executor."""
        # torch's thread count holds on the thread that sets it.
        return ThreadPoolExecutor(initializer=torch.set_num_threads, initargs=(self.knobs.threads,))


@contextmanager
def assembled(cfg: DictConfig) -> Iterator[AssembledCloud]:
    """Load the models, warm them up, make the application; end the threads afterwards.

    Raises:
        ConfigError: a knob that cannot work, or no model.
    """
    knobs = cast("CloudSettings", OmegaConf.to_object(cfg.cloud))
    server = cast("ServerSettings", OmegaConf.to_object(cfg.server))
    _check(knobs)
    check_server(server, "server")
    torch.set_num_threads(knobs.threads)
    executor = build(Kind.EXECUTOR, cfg.executor)
    hosted = HostedModels(_partitions(cfg, knobs.device), knobs.max_batch, build_each(Kind.CODEC, cfg.codec))
    try:
        with tail_threads(knobs) as pool:
            pool.submit(hosted.warm_up).result()
            if knobs.batch_requests > 1:
                pool.submit(hosted.learn_to_batch).result()
            yield AssembledCloud(make_app(hosted, executor, pool, server, knobs), hosted, server, knobs)
    finally:
        executor.close()


def tail_threads(knobs: CloudSettings) -> ThreadPoolExecutor:
    """The threads that compute tails."""
    # torch's thread count holds on the thread that sets it.
    return ThreadPoolExecutor(knobs.workers, "tail", torch.set_num_threads, (knobs.threads,))


def _check(knobs: CloudSettings) -> None:
    for name in ("threads", "workers", "max_batch", "batch_requests"):
        if getattr(knobs, name) < 1:
            raise ConfigError(f"cloud.{name} must be at least 1, got {getattr(knobs, name)}")
    if knobs.queue < 0 or not knobs.batch_delay_s >= 0.0:
        raise ConfigError("cloud.queue and cloud.batch_delay_s must be 0 or more")


def _partitions(cfg: DictConfig, device: str) -> dict[str, Partition]:
    if not cfg.model:
        raise ConfigError("midcut cloud needs a model: say model=NAME or model='[NAME,NAME]'")
    settings = cast("CutSettings", OmegaConf.to_object(cfg.cuts))
    partitions: dict[str, Partition] = {}
    for component in build_each(Kind.MODEL, cfg.model).values():
        model = component.load()
        made = partition(model, settings)
        partitions[model.name] = made if device == "cpu" else DevicePartition(made, model, device)
        _log.info("model loaded", model=model.name, note=model.note, cuts=len(made.legal), nodes=made.node_count)
    return partitions
