"""Profiles of this machine, measured in seconds when nobody has measured it before."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from midcut.profiles.cache import cached_path, read_cached, write_cached
from midcut.profiles.clocks import CpuClocks
from midcut.profiles.measuring import finish, measure, measuring, quick_repeats, this_machine, versions
from midcut.profiles.profile import Profile, Run
from midcut.profiles.segments import measuring_segments
from midcut.tensors import set_threads

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from midcut.graph import Partition
    from midcut.protocols import Executor
    from midcut.terms import Role
    from midcut.types import Tensor

CPUFREQ: Final = Path("/sys/devices/system/cpu")
_log = structlog.get_logger("midcut.profiles")


def own_profile(
    partition: Partition,
    inputs: Sequence[Tensor],
    role: Role,
    executor: str,
    threads: int,
    fused: Executor | None = None,
) -> Path:
    """The file with this machine's profile of a model: from the cache, or measured now, with a progress bar.

    Args:
        partition: the captured model.
        inputs: of the model.
        executor: what runs the model, in a form that is equal for equal speed.
        threads: torch's intra-op threads.
        fused: runs the model, if nodes of their own mean nothing to it.
    """
    path = own_path(partition, role, executor, threads)
    cached = read_cached(path)
    if cached is not None:
        _log.info("profile of this machine", model=cached.model, file=str(path))
        return path
    _log.info("no profile of this machine yet: measuring", model=partition.table.model, threads=threads)
    started = perf_counter()
    set_threads(threads)
    clocks = CpuClocks(CPUFREQ)
    repeats = quick_repeats(partition, inputs)
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*bar, transient=True, console=Console(stderr=True, force_jupyter=False)) as progress:
        total = repeats + 1 if fused is None else 2 * (repeats + 1)
        task = progress.add_task(f"measuring {partition.table.model} on this machine", total=total)
        known_s: tuple[float, ...] = getattr(partition, "node_s", ())
        run = (
            _proportions(known_s, clocks.current_mhz())
            if known_s
            else measure(
                partition,
                inputs,
                clocks.current_mhz,
                repeats=repeats,
                warmup=1,
                advance=lambda: progress.advance(task),
            )
        )
        if fused is not None:
            passes = measuring_segments(partition, inputs, role, run, fused, repeats)
            run = finish(passes, lambda: progress.advance(task))
    path = write_cached(_profile(partition, role, threads, run, fused), path)
    _log.info("profile of this machine measured", file=str(path), took_s=round(perf_counter() - started, 1))
    return path


def _proportions(node_s: tuple[float, ...], clock_mhz: float | None) -> Run:
    """The seconds of another machine's nodes, between whose sums the segments of this one are interpolated."""
    return Run(clock_mhz, node_s, (0.0,) * len(node_s), max(sum(node_s), 1e-9), 0.0, 0)


def own_path(partition: Partition, role: Role, executor: str, threads: int) -> Path:
    """Where the cache keeps this machine's profile of a model."""
    return cached_path(
        partition.table.model,
        role,
        this_machine(),
        partition.table.graph,
        executor,
        threads,
        versions().get("torch", ""),
    )


def own_measuring(
    partition: Partition,
    inputs: Sequence[Tensor],
    role: Role,
    threads: int,
    fused: Executor | None = None,
) -> Generator[None, None, Profile]:
    """Measure this machine; yields after each pair of passes."""
    clocks = CpuClocks(CPUFREQ)
    repeats = quick_repeats(partition, inputs)
    run = yield from measuring(partition, inputs, clocks.current_mhz, repeats=repeats, warmup=1)
    if fused is not None:
        run = yield from measuring_segments(partition, inputs, role, run, fused, repeats)
    return _profile(partition, role, threads, run, fused)


def _profile(partition: Partition, role: Role, threads: int, run: Run, fused: Executor | None) -> Profile:
    return Profile(
        model=partition.table.model,
        role=role,
        table=partition.table,
        machine=this_machine(),
        versions=versions(),
        threads=threads,
        batch=1,
        modelled=False,
        origin="measured by itself at first use; `midcut profile` measures longer and at every clock",
        runs=(run,),
        executor="" if fused is None else fused.identity,
    )
