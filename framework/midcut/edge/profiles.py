"""The profiles that an edge plans with: files, its own measurements, and what the cloud and the relay send."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

import structlog
from omegaconf import DictConfig, OmegaConf

from midcut.edge.routes import configs_by_url
from midcut.errors import FileError
from midcut.exported import ExportedNetwork
from midcut.profiles import Role, find_profile, speed_key
from midcut.profiles.cache import cache_folder, cached_path, write_cached
from midcut.profiles.choosing import AUTO, cloud_profile_file, edge_profile_file, own_where_unknown, sent_path
from midcut.profiles.converting import converted, time_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.graph import Partition
    from midcut.profiles import Profile
    from midcut.protocols import Executor
    from midcut.types import LoadedModel, Tensor

_log = structlog.get_logger("midcut.edge")


class EdgeProfiles:
    """The profiles that the edge plans with.

    Attributes:
        cfg: the edge's config with files in place of `auto`.
        asked_parts: the parts, `cloud` and `relay`, whose own seconds are to be used.
    """

    def __init__(
        self, cfg: DictConfig, partition: Partition, model: LoadedModel, threads: int, fused: Executor | None
    ) -> None:
        self.cfg = copy.deepcopy(cfg)
        url = next(iter(configs_by_url(cfg)))
        folder = cache_folder()

        def captured() -> tuple[Partition, Sequence[Tensor]]:
            return partition, model.example

        edge_spec = own_where_unknown(cfg.edge_profile, partition.table.model)
        edge = edge_profile_file(edge_spec, partition.table.model, captured, folder, threads, lambda _: fused)
        specs = {part: own_where_unknown(cfg[f"{part}_profile"], partition.table.model) for part in ("cloud", "relay")}
        self._sent = {"cloud": sent_path(url, partition), "relay": sent_path(f"{url} as a relay", partition)}
        OmegaConf.update(self.cfg, "edge_profile", edge)
        for part, spec in specs.items():
            sent_by = url if part == "cloud" else f"{url} as a relay"
            file = cloud_profile_file(spec, partition.table.model, captured, folder, sent_by, quiet=part == "relay")
            OmegaConf.update(self.cfg, f"{part}_profile", file)
        self.asked_parts = frozenset(part for part, spec in specs.items() if spec == AUTO)
        self._model = partition.table.model

    def convert(self, partition: Partition, inputs: Sequence[Tensor], fused: Executor | None) -> None:
        """Scale a profile of PyTorch to the executor that runs here, as an estimate."""
        try:
            profile = find_profile(self.cfg.edge_profile, Role.edge, partition.table.model)
        except FileError:  # a predictor that needs it will say so
            return
        if (
            fused is None or profile.executor or isinstance(partition, ExportedNetwork)
        ):  # without PyTorch to compare with
            return
        ratio = time_ratio(partition, inputs, fused)
        path = cached_path(partition.table.model, Role.edge, "converted", self.cfg.edge_profile, speed_key(fused))
        OmegaConf.update(self.cfg, "edge_profile", str(write_cached(converted(profile, fused.identity, ratio), path)))
        _log.warning(
            f"the edge's profile is of PyTorch: its seconds are scaled by {ratio:.2f}, as measured here",
            executor=fused.identity,
            better="edge_profile=auto, or midcut profile with the same executor",
        )

    def cloud_executor(self) -> str | None:
        """What the cloud's profile was measured in, empty for PyTorch; None if there is no profile of it."""
        try:
            return find_profile(self.cfg.cloud_profile, Role.cloud, self._model).executor
        except FileError:
            return None

    async def use(self, part: str, profile: Profile) -> None:
        """Plan with the profile that the cloud sent, also after a restart."""
        path = await asyncio.to_thread(write_cached, profile, self._sent[part])
        OmegaConf.update(self.cfg, f"{part}_profile", str(path))


def warn_of_other_conditions(spec: str, model: str, threads: int, fused: Executor | None) -> None:
    """Warn if the profile of the edge was measured with another executor or number of threads than the edge's."""
    try:
        profile = find_profile(spec, Role.edge, model)
    except FileError:  # a predictor that needs it will say so
        return
    identity = "" if fused is None else fused.identity
    if profile.executor != identity:
        _log.warning(
            f"the edge's profile was measured in {profile.executor or 'PyTorch'}",
            executor=identity or "PyTorch",
            better="edge_profile=auto, or midcut profile with the same executor",
        )
    if profile.threads != threads:
        _log.warning(
            f"the edge's profile was measured with {profile.threads} thread(s), engine.threads is {threads}",
            better=f"edge_profile=auto, or midcut profile model={model} threads={threads}",
        )
