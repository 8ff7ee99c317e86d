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
from midcut.component import Kind
from midcut.config.build import build, build_each, settings_of
from midcut.config.settings import CloudConfig
from midcut.errors import ConfigError
from midcut.graph import partition
from midcut.graph.device_partition import DevicePartition
from midcut.graph.segments import Segments
from midcut.serving import check_credentials
from midcut.serving.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiohttp import web
    from omegaconf import DictConfig

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
            yield AssembledCloud(make_app(hosted, segments, pool, server, settings), hosted, server, settings)
    finally:
        segments.close()


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
