"""The cloud's own profiles, which edges plan with: measured when an edge first asks, a pass at a time between tails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import torch

from midcut.errors import MalformedError
from midcut.profiles.cache import read_cached, write_cached
from midcut.profiles.own import own_measuring, own_path
from midcut.profiles.speeds import speed_key
from midcut.serving import json_response
from midcut.terms import Role

if TYPE_CHECKING:
    from collections.abc import Generator

    from aiohttp import web

    from midcut.cloud.hosted import HostedModels
    from midcut.cloud.relay import Relay
    from midcut.config.settings import CloudSettings
    from midcut.graph import Partition
    from midcut.graph.segments import Segments
    from midcut.profiles import Profile
    from midcut.serving.threads import Threads

_log = structlog.get_logger("midcut.cloud")


class OwnProfiles:
    """Measures each model once in the life of the process, unless the cache has its profile.

    Args:
        hosted: the models that the cloud serves.
        segments: runs the tails of the models.
        pool: the threads that compute tails; a measurement uses them as requests do.
        relay: gives the upstream's; None for a cloud that is no relay.
    """

    def __init__(
        self,
        hosted: HostedModels,
        segments: Segments,
        pool: Threads,
        settings: CloudSettings,
        relay: Relay | None = None,
    ) -> None:
        self._relay = relay
        self._fused = segments.fused
        self._hosted = hosted
        self._pool = pool
        self._settings = settings
        self._tasks: dict[str, asyncio.Task[bytes]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        """GET /v1/models/{model}/profile; waits until the model is measured. With `?tier=1` the upstream's."""
        partition = self._hosted.partition_of(request.match_info["model"])
        if (tier := request.query.get("tier", "0")) != "0":
            if tier != "1" or self._relay is None:
                raise MalformedError(f"tier={tier[:20]}: a relay has the tiers 0 and 1, this cloud is {self._what}")
            return json_response(await self._relay.profile(partition.table.model))
        name = partition.table.fingerprint
        task = self._tasks.get(name)
        if task is None or (task.done() and task.exception() is not None):
            task = self._tasks[name] = asyncio.create_task(self._profile(partition), name=f"profile of {name}")
        return json_response(await asyncio.shield(task))

    @property
    def _what(self) -> str:
        return "none" if self._relay is None else "one"

    async def _profile(self, partition: Partition) -> bytes:
        executor = f"native on {self._settings.device}" if self._fused is None else speed_key(self._fused)
        path = own_path(partition, Role.cloud, executor, self._settings.thread_count)
        profile = await asyncio.to_thread(read_cached, path)
        if profile is None:
            profile = await self._measure(partition)
            await asyncio.to_thread(write_cached, profile, path)
        return msgspec.json.encode(profile)

    async def _measure(self, partition: Partition) -> Profile:
        _log.info("measuring for an edge that plans", model=partition.table.model)
        passes = own_measuring(
            partition, _made_up_inputs(partition), Role.cloud, self._settings.thread_count, self._fused
        )
        while True:
            profile = await self._pool.run(_advance, passes)
            if profile is not None:
                return profile


def _advance(passes: Generator[None, None, Profile]) -> Profile | None:
    try:
        next(passes)
    except StopIteration as done:
        profile: Profile = done.value
        return profile
    return None


def _made_up_inputs(partition: Partition) -> list[Any]:
    """Inputs of the model's shapes: random floats, and zeros for indices, which fit any table."""
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for spec in partition.table.cuts[0].values:
        dtype = getattr(torch, spec.dtype)
        zeros = torch.zeros(spec.shape, dtype=dtype)
        inputs.append(torch.rand(spec.shape, generator=generator).to(dtype) if dtype.is_floating_point else zeros)
    return inputs
