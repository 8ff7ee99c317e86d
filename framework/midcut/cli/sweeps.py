"""A line of `sweep.jsonl` per job of a multirun, written as the job ends, and what a sweeper searches by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from msgspec import UNSET, UnsetType
from omegaconf import ListConfig, OmegaConf

from midcut.errors import ConfigError
from midcut.results.sweep import FILE, Job, append_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Scored:
    """A verb's result, and the numbers of it that a sweeper searches by: it sees a number, or a sequence of them."""

    result: Any
    objectives: dict[str, float]

    def __iter__(self) -> Iterator[float]:
        return iter(self.objectives.values())

    def __float__(self) -> float:
        (only,) = self.objectives.values()
        return only


def objectives(config: DictConfig) -> list[str]:
    """The objectives that a config names; none where the verb has no such knob.

    Raises:
        ConfigError: the sweeper optimises in another number of directions.
    """
    names = list(OmegaConf.select(config, "objectives") or ())
    hydra = HydraConfig.get()
    direction = OmegaConf.select(hydra.sweeper, "direction")  # sweepers that search have one
    if hydra.mode == RunMode.MULTIRUN and direction is not None:
        wanted = len(direction) if isinstance(direction, ListConfig) else 1
        if len(names) != wanted:
            raise ConfigError(
                f"hydra.sweeper.direction asks for {wanted} of the result's numbers, objectives names {len(names)}: "
                "write e.g. objectives=[latency_s,cost_usd] hydra.sweeper.direction=[minimize,minimize]"
            )
    return names


def scored(result: Any, names: Sequence[str]) -> Any:
    """The result as it is where no objective is named, else with its objectives.

    Args:
        result: what a verb returned.
        names: `latency_s`; a dot goes down: `algorithm1.latency_s`.

    Raises:
        ConfigError: a name that is none of the result's numbers.
    """
    if not names:
        return result
    numbers = dict(_numbers(result))
    for name in names:
        if name not in numbers:
            raise ConfigError(f"objectives: {name!r} is no number of the result; there are: {', '.join(numbers)}")
    return Scored(result, {name: numbers[name] for name in names})


def _numbers(result: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in result.items() if isinstance(result, dict) else ():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
        else:
            yield from _numbers(value, f"{prefix}{name}.")


class SweepRecorder(Callback):
    """Appends to `sweep.jsonl` in the sweep's folder: overrides, status, and what the verb returned.

    Lines stand in the order the jobs ended; `job` is the sweep's own number.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        hydra = config.hydra
        if hydra.mode != RunMode.MULTIRUN:
            return
        failed = job_return.status is not JobStatus.COMPLETED
        # The field behind the property: reading the property re-raises a failed job's error.
        outcome = job_return._return_value  # noqa: SLF001
        named: dict[str, float] | UnsetType = UNSET
        if isinstance(outcome, Scored):
            outcome, named = outcome.result, outcome.objectives
        job = Job(
            job=hydra.job.num,
            verb=hydra.job.name,
            overrides=tuple(job_return.overrides or ()),
            status="failed" if failed else "completed",
            run_dir=hydra.runtime.output_dir,
            result=None if failed else outcome,
            objectives=named,
            error=f"{type(outcome).__name__}: {outcome}" if failed else None,
        )
        append_job(Path(hydra.sweep.dir) / FILE, job)
