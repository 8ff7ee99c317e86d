"""A profile of PyTorch for another executor: its seconds, scaled to how much faster that runs the model here."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from midcut.errors import ExecutorError
from midcut.profiles.speeds import forget_speeds, speeds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from midcut.graph import Partition
    from midcut.profiles.profile import Profile, Run
    from midcut.protocols import Executor, Network


def time_ratio(partition: Partition, inputs: Sequence[torch.Tensor], executor: Executor) -> float:
    """Seconds of the whole model in an executor, as a share of PyTorch's, as measured now or at an earlier start.

    Raises:
        ExecutorError: the executor cannot run the model.
    """
    in_torch = _InTorch()
    speeds = speeds_of(partition, inputs, (in_torch, executor))
    if executor.identity not in speeds.seconds and speeds.file is not None:  # it was refused then, and may run now
        forget_speeds(partition)
        speeds = speeds_of(partition, inputs, (in_torch, executor))
    if executor.identity not in speeds.seconds:
        raise ExecutorError(speeds.refused[executor.identity])
    return speeds.seconds[executor.identity] / speeds.seconds[in_torch.identity]


class _InTorch:
    """The nodes in PyTorch, under the identity and conditions that `executor=native` has."""

    def __init__(self) -> None:
        import torch  # noqa: PLC0415 - an edge without it compares nothing

        self.identity = f"native torch {torch.__version__}"
        self.conditions = f"threads {torch.get_num_threads()}"

    def prepare(self, network: Network, start: int, stop: int) -> _TorchSegment:
        return _TorchSegment(network, start, stop)

    def ready(self, network: Network, start: int, stop: int) -> bool:  # noqa: ARG002
        return True

    def close(self) -> None:
        """Nothing to release."""


class _TorchSegment:
    def __init__(self, network: Network, start: int, stop: int) -> None:
        self._run = partial(network.run, start, stop)

    def run(self, values: Sequence[Any]) -> tuple[Sequence[Any], float]:
        began = perf_counter()
        return self._run(values), perf_counter() - began


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
