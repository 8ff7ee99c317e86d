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
    from omegaconf import DictConfig

    from midcut.graph import Partition
    from midcut.settings import CloudSettings, CutSettings, ServerSettings

_log = structlog.get_logger("midcut.cloud")


def run(cfg: DictConfig) -> None:
    """Serve until SIGTERM or Ctrl-C, finish what is in flight, return."""
    knobs = cast("CloudSettings", OmegaConf.to_object(cfg.cloud))
    if knobs.workers < 1 or knobs.max_batch < 1 or knobs.threads < 1:
        raise ConfigError("cloud.threads, cloud.workers and cloud.max_batch must be at least 1")
    torch.set_num_threads(knobs.threads)
    executor = build(Kind.EXECUTOR, cfg.executor)
    hosted = HostedModels(_partitions(cfg), executor, knobs.max_batch)
    settings = cast("ServerSettings", OmegaConf.to_object(cfg.server))

    def ready(url: str) -> None:
        sys.stdout.write(f"midcut cloud ready on {url} with {', '.join(hosted.names)}\n")
        sys.stdout.flush()

    try:
        with _pool(knobs) as pool:
            pool.submit(hosted.warm_up).result()
            asyncio.run(serve(make_app(hosted, pool, settings), settings, ready))
    finally:
        executor.close()


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
