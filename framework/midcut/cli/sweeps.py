"""Sweeps: a line of `sweep.jsonl` for every job when it ends, and the objectives that an optimising sweeper uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from msgspec import UNSET, UnsetType
from omegaconf import ListConfig, OmegaConf

from midcut.cli.sweep_table import print_jobs
from midcut.errors import ConfigError
from midcut.results.sweep import FILE, Job, append_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig


@dataclass(frozen=True)
class ResultWithObjectives:
    """A verb's result with the objectives in it. To a sweeper it looks like a number, or a sequence of numbers."""

    result: Any
    objectives: dict[str, float]

    def __iter__(self) -> Iterator[float]:
        return iter(self.objectives.values())

    def __float__(self) -> float:
        (objective,) = self.objectives.values()
        return objective


def objective_names(config: DictConfig) -> list[str]:
    """The objectives that a config lists; empty for a verb without this setting.

    Raises:
        ConfigError: the sweeper has a different number of directions.
    """
    names = list(OmegaConf.select(config, "objectives") or ())
    hydra = HydraConfig.get()
    direction = OmegaConf.select(hydra.sweeper, "direction")  # optimising sweepers have one
    if hydra.mode == RunMode.MULTIRUN and direction is not None:
        directions = len(direction) if isinstance(direction, ListConfig) else 1
        if len(names) != directions:
            raise ConfigError(
                f"hydra.sweeper.direction has {directions} entries, but objectives has {len(names)}: "
                "write e.g. objectives=[latency_s,cost_usd] hydra.sweeper.direction=[minimize,minimize]"
            )
    return names


def with_objectives(result: Any, names: Sequence[str]) -> Any:
    """Add the objectives to a result; without names the result is returned as it is.

    Args:
        result: what a verb returned.
        names: of numbers in the result, with dots for nested ones: `latency_s`, `algorithm1.latency_s`.

    Raises:
        ConfigError: the result has no number of that name.
    """
    if not names:
        return result
    numbers = dict(_numbers(result))
    for name in names:
        if name not in numbers:
            raise ConfigError(f"objectives: the result has no number {name!r}; there are: {', '.join(numbers)}")
    return ResultWithObjectives(result, {name: numbers[name] for name in names})


def _numbers(result: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in result.items() if isinstance(result, dict) else ():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
        else:
            yield from _numbers(value, f"{prefix}{name}.")


class SweepRecorder(Callback):
    """Appends every finished job to `sweep.jsonl` in the sweep's folder, in the order in which the jobs end.

    At the end of the sweep it prints them as a table.
    """

    _running: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        SweepRecorder._running = Path(config.hydra.sweep.dir) / FILE

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ARG002 - Hydra's signature
        self.print_table()

    @classmethod
    def print_table(cls) -> None:
        """Print the table of a sweep that has not got one: Hydra calls no callback at the end of one that failed."""
        path, cls._running = cls._running, None
        if path is not None and path.exists():
            print_jobs(path)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        hydra = config.hydra
        if hydra.mode != RunMode.MULTIRUN:
            return
        failed = job_return.status is not JobStatus.COMPLETED
        # The private field, because the property re-raises the error of a failed job.
        outcome = job_return._return_value  # noqa: SLF001
        objectives: dict[str, float] | UnsetType = UNSET
        if isinstance(outcome, ResultWithObjectives):
            outcome, objectives = outcome.result, outcome.objectives
        job = Job(
            job=hydra.job.num,
            verb=hydra.job.name,
            overrides=tuple(job_return.overrides or ()),
            status="failed" if failed else "completed",
            run_dir=hydra.runtime.output_dir,
            result=None if failed else outcome,
            objectives=objectives,
            error=f"{type(outcome).__name__}: {outcome}" if failed else None,
        )
        append_job(Path(hydra.sweep.dir) / FILE, job)
