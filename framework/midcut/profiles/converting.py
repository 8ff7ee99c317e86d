"""A profile of PyTorch for another executor: its seconds, scaled to how much faster that runs the model here."""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from midcut.graph import Partition
    from midcut.profiles.profile import Profile, Run
    from midcut.protocols import Executor

_LONGEST_S: Final = 2.0
_MOST_ROUNDS: Final = 15
_LEAST_ROUNDS: Final = 3


def time_ratio(partition: Partition, inputs: Sequence[torch.Tensor], executor: Executor) -> float:
    """Seconds of the whole model in an executor, as a share of PyTorch's: medians of runs that take turns.

    Raises:
        ExecutorError: the executor cannot run the model.
    """
    last = partition.table.last
    segment = executor.prepare(partition, 0, last)
    theirs: list[float] = []
    torch_s: list[float] = []
    began = perf_counter()
    partition.run(0, last, inputs)
    segment.run(inputs)
    while len(theirs) < _LEAST_ROUNDS or (len(theirs) < _MOST_ROUNDS and perf_counter() - began < _LONGEST_S):
        started = perf_counter()
        partition.run(0, last, inputs)
        torch_s.append(perf_counter() - started)
        theirs.append(segment.run(inputs)[1])
    return statistics.median(theirs) / statistics.median(torch_s)


def converted(profile: Profile, executor: str, ratio: float) -> Profile:
    """The profile of PyTorch with all seconds times `ratio`, as an estimate for an executor.

    Args:
        executor: its identity.
        ratio: of `time_ratio`.
    """
    return replace(
        profile,
        runs=tuple(_scaled(run, ratio) for run in profile.runs),
        executor=executor,
        origin=f"{profile.origin}; seconds of PyTorch, scaled to {executor}",
    )


def _scaled(run: Run, ratio: float) -> Run:
    return replace(
        run,
        node_s=tuple(seconds * ratio for seconds in run.node_s),
        node_spread_s=tuple(seconds * ratio for seconds in run.node_spread_s),
        whole_s=run.whole_s * ratio,
        whole_spread_s=run.whole_spread_s * ratio,
    )
