"""Settles `edge_profile` and `cloud_profile` in the config of a verb that may have no model loaded."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, cast

from omegaconf import OmegaConf

from midcut.component import Kind
from midcut.config.build import build, build_each, single_name
from midcut.profiles.choosing import cloud_profile_file, edge_profile_file, fused_executor
from midcut.tensors import set_threads, thread_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch
    from omegaconf import DictConfig

    from midcut.config.settings import CutSettings
    from midcut.graph import Partition
    from midcut.protocols import Executor

_captured: dict[str, tuple[Partition, Sequence[torch.Tensor]]] = {}


def fill_profiles(cfg: DictConfig, verb: str, folder: Path, url: str = "") -> str:
    """Replace `auto`, and devices that have no profile of the model, by files. Loads the model where one is missing.

    Args:
        cfg: the config of a verb; changed.
        verb: its name, for errors.
        folder: for estimates.
        url: of the cloud whose profile `cloud_profile=auto` is.

    Returns:
        name of the model in profiles: its `title`, if its component has one as `model=module` does.

    Raises:
        ConfigError: not exactly one model is chosen.
        GraphError: the model is needed and cannot be loaded or captured.
    """
    name = single_name(Kind.MODEL, cfg.model, verb)
    title = str(OmegaConf.select(cfg.model[name], "title") or name)

    def captured() -> tuple[Partition, Sequence[torch.Tensor]]:
        return _capture(cfg, name)

    fill_profiles_of(cfg, title, captured, folder, url)
    return title


def fill_profiles_of(
    cfg: DictConfig,
    title: str,
    captured: Callable[[], tuple[Partition, Sequence[torch.Tensor]]],
    folder: Path,
    url: str = "",
) -> None:
    """Do the same for a model that the caller has, or can get.

    Args:
        title: name of the model in profiles.
        captured: returns the captured model and its inputs.
    """
    with contextlib.ExitStack() as stack:

        def fused(partition: Partition) -> Executor | None:
            stack.callback(set_threads, thread_count())  # of a program that only asks for a plan
            set_threads(1)  # the executor asks for the number when it is built
            executor = stack.enter_context(contextlib.closing(build(Kind.EXECUTOR, cfg.executor)))
            return fused_executor(executor, partition)

        edge = edge_profile_file(cfg.edge_profile, title, captured, folder, 1, fused)
    cloud = cloud_profile_file(cfg.cloud_profile, title, captured, folder, url)
    OmegaConf.update(cfg, "edge_profile", edge)
    OmegaConf.update(cfg, "cloud_profile", cloud)
    if cfg.get("tiers", 2) > 2:
        relay = cloud_profile_file(cfg.relay_profile, title, captured, folder, f"{url} as a relay")
        OmegaConf.update(cfg, "relay_profile", relay)


def _capture(cfg: DictConfig, name: str) -> tuple[Partition, Sequence[torch.Tensor]]:
    """The captured model and its inputs; loaded once for all jobs of a sweep."""
    nodes = {part: OmegaConf.to_container(cfg[part], resolve=True, enum_to_str=True) for part in ("model", "cuts")}
    key = json.dumps(nodes, default=str)
    if key not in _captured:
        _captured[key] = _load(cfg, name)
    return _captured[key]


def _load(cfg: DictConfig, name: str) -> Any:
    from midcut.graph import partition  # noqa: PLC0415 - torch

    model = build_each(Kind.MODEL, cfg.model)[name].load()
    return partition(model, cast("CutSettings", OmegaConf.to_object(cfg.cuts))), model.example
