"""Finds the files that `edge_profile` and `cloud_profile` stand for, and makes those that nobody has made yet.

`auto` is this machine, measured, and the cloud's own profile; a device that comes with midcut is estimated for models
that it has no profile of. Importing this imports no torch: it is needed only where something is measured or estimated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from midcut.profiles.cache import cached_path, read_cached, write_cached
from midcut.profiles.estimating import can_estimate, estimate
from midcut.profiles.file_names import file_name
from midcut.profiles.shipped import SHIPPED, is_path
from midcut.profiles.speeds import speed_key
from midcut.terms import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

    from midcut.graph import Partition
    from midcut.protocols import Executor

    Captured = Callable[[], tuple[Partition, Sequence[torch.Tensor]]]

AUTO: Final = "auto"
_log = structlog.get_logger("midcut.profiles")


def edge_profile_file(
    spec: str,
    model: str,
    captured: Captured,
    folder: Path,
    threads: int,
    fused: Callable[[Partition], Executor | None],
) -> str:
    """The profile to plan the edge's seconds with, as a file or a device.

    Args:
        spec: a value of `edge_profile`.
        model: name of the model.
        captured: returns the captured model and its inputs; called only where they are needed.
        folder: for estimates.
        threads: torch's, for `auto`.
        fused: returns what runs the model here, if it merges nodes; called for `auto` only.
    """
    if spec != AUTO:
        return _estimated_if_unknown(spec, Role.edge, model, captured, folder)
    from midcut.profiles.own import own_profile  # noqa: PLC0415 - torch

    partition, inputs = captured()
    executor = fused(partition)
    key = "native" if executor is None else speed_key(executor)
    return str(own_profile(partition, inputs, Role.edge, key, threads, executor))


def fused_executor(executor: Executor, partition: Partition) -> Executor | None:
    """Prepare the whole model; returns the executor if it can run it and merges nodes.

    Of an emulated clock, it is the executor that runs inside it at full speed.
    """
    executor = getattr(executor, "full_speed", executor)
    try:
        executor.prepare(partition, 0, partition.table.last)
    except Exception:  # noqa: BLE001 - whoever runs it prepares it again, and logs why PyTorch runs it instead
        return None
    return executor if getattr(executor, "fused", False) else None


def cloud_profile_file(
    spec: str, model: str, captured: Captured, folder: Path, url: str, *, quiet: bool = False
) -> str:
    """The profile to plan the cloud's seconds with, until the cloud sends its own.

    Args:
        spec: a value of `cloud_profile`.
        url: of the cloud, for `auto`: what it sent last is used.
        model, captured, folder: as for the edge.
        quiet: do not log that it is an estimate, for a part that there may not be.
    """
    if spec != AUTO:
        return _estimated_if_unknown(spec, Role.cloud, model, captured, folder)
    partition, _ = captured()
    path = sent_path(url, partition)
    if read_cached(path) is not None:
        return str(path)
    better = "the cloud's own seconds, which an edge takes from it; or cloud_profile=FILE"
    return _estimate("cloud", Role.cloud, captured, folder, better, quiet=quiet)


def sent_path(url: str, partition: Partition) -> Path:
    """Where the cache keeps the profile that a cloud sent."""
    return cached_path(partition.table.model, Role.cloud, url, partition.table.graph)


def own_where_unknown(spec: str, model: str) -> str:
    """What a profile setting means at the edge: `auto` where a shipped device has no profile of the model."""
    return spec if is_path("profile", spec) or not _is_unknown(spec, model) else AUTO


def _is_unknown(spec: str, model: str) -> bool:
    return can_estimate(spec) and not (SHIPPED / "profiles" / spec / f"{file_name(model)}.json").exists()


def _estimated_if_unknown(spec: str, role: Role, model: str, captured: Captured, folder: Path) -> str:
    if is_path("profile", spec) or not _is_unknown(spec, model):
        return spec
    better = f"midcut profile model={model} role={role}, then {role}_profile=FILE"
    return _estimate(spec, role, captured, folder, better)


def _estimate(device: str, role: Role, captured: Captured, folder: Path, better: str, *, quiet: bool = False) -> str:
    profile = estimate(captured()[0].table, device, role)
    # Another device's, as of a relay, or that of a model of the same name would take its place.
    name = f"{file_name(profile.model)}-{role}-{device}-{profile.table.graph[:8]}-estimate.json"
    path = write_cached(profile, folder / name)
    log = _log.debug if quiet else _log.warning
    log(
        f"no profile of {profile.model} as {role}: its seconds are an estimate from operations and bytes",
        device=profile.machine.name,
        file=str(path),
        better=better,
    )
    return str(path)
