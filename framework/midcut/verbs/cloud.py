"""`midcut cloud`: load the models, then finish inferences for whoever asks."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import structlog
import torch
from omegaconf import OmegaConf

from midcut.build import build, build_each
from midcut.cloud import HostedModels, make_app
from midcut.component import Kind
from midcut.errors import ConfigError
from midcut.graph import partition
from midcut.serving import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web
    from omegaconf import DictConfig

    from midcut.graph import Partition
    from midcut.settings import CloudSettings, CutSettings, ServerSettings

_log = structlog.get_logger("midcut.cloud")


def run(cfg: DictConfig) -> None:
    """Serve until SIGTERM or Ctrl-C, finish what is in flight, return."""
    knobs = cast("CloudSettings", OmegaConf.to_object(cfg.cloud))
    _check(knobs)
    torch.set_num_threads(knobs.threads)
    executor = build(Kind.EXECUTOR, cfg.executor)
    hosted = HostedModels(_partitions(cfg), knobs.max_batch, build_each(Kind.CODEC, cfg.codec))
    settings = cast("ServerSettings", OmegaConf.to_object(cfg.server))

    def ready(url: str) -> None:
        sys.stdout.write(f"midcut cloud ready on {url} with {', '.join(hosted.names)}\n")
        sys.stdout.flush()

    try:
        with _pool(knobs) as pool:
            pool.submit(hosted.warm_up).result()
            if knobs.batch_requests > 1:
                pool.submit(hosted.learn_to_join).result()
            asyncio.run(_serve(make_app(hosted, executor, pool, settings, knobs), settings, knobs, ready))
    finally:
        executor.close()


async def _serve(
    app: web.Application, settings: ServerSettings, knobs: CloudSettings, ready: Callable[[str], None]
) -> None:
    # Big bodies are decoded on the loop's own threads; torch's thread count holds on the thread that sets it.
    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(initializer=torch.set_num_threads, initargs=(knobs.threads,))
    )
    await serve(app, settings, ready)


def _check(knobs: CloudSettings) -> None:
    for name in ("threads", "workers", "max_batch", "batch_requests"):
        if getattr(knobs, name) < 1:
            raise ConfigError(f"cloud.{name} must be at least 1, got {getattr(knobs, name)}")
    if knobs.queue < 0 or not knobs.batch_delay_s >= 0.0:
        raise ConfigError("cloud.queue and cloud.batch_delay_s must be 0 or more")


def _pool(knobs: CloudSettings) -> ThreadPoolExecutor:
    # torch's thread count holds on the thread that sets it.
    return ThreadPoolExecutor(
        knobs.workers, thread_name_prefix="tail", initializer=torch.set_num_threads, initargs=(knobs.threads,)
    )


def _partitions(cfg: DictConfig) -> dict[str, Partition]:
    if not cfg.model:
        raise ConfigError("midcut cloud needs a model: say model=NAME or model='[NAME,NAME]'")
    settings = cast("CutSettings", OmegaConf.to_object(cfg.cuts))
    partitions: dict[str, Partition] = {}
    for component in build_each(Kind.MODEL, cfg.model).values():
        model = component.load()
        made = partition(model, settings)
        partitions[model.name] = made
        _log.info("model loaded", model=model.name, note=model.note, cuts=len(made.legal), nodes=made.node_count)
    return partitions
