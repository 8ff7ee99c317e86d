"""One JSON line per job of a multirun, written as the job ends, also when it failed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

FILE = "sweep.jsonl"


class SweepRecorder(Callback):
    """Appends to `sweep.jsonl` in the sweep's folder: overrides, status, and what the verb returned.

    Lines stand in the order the jobs ended; `job` is the sweep's own number. One `write` to a file
    opened for appending keeps lines whole when a launcher runs jobs in several processes.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        hydra = config.hydra
        if hydra.mode != RunMode.MULTIRUN:
            return
        failed = job_return.status is not JobStatus.COMPLETED
        # The field behind the property: reading the property re-raises a failed job's error.
        outcome = job_return._return_value  # noqa: SLF001
        line: dict[str, Any] = {
            "job": hydra.job.num,
            "verb": hydra.job.name,
            "overrides": list(job_return.overrides or ()),
            "status": "failed" if failed else "completed",
            "run_dir": hydra.runtime.output_dir,
            "result": None if failed else outcome,
            "error": f"{type(outcome).__name__}: {outcome}" if failed else None,
        }
        path = Path(hydra.sweep.dir) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, msgspec.json.encode(line) + b"\n")
        finally:
            os.close(descriptor)
