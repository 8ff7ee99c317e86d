"""`sweep.jsonl`: a line for every job of a multirun, also for those that failed. Every verb with `-m` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET, Struct, UnsetType

from midcut.errors import FileError
from midcut.results.files import json_line, read_lines
from midcut.results.lines import LineFile

if TYPE_CHECKING:
    from pathlib import Path

FILE = "sweep.jsonl"


class Job(Struct, frozen=True, kw_only=True):
    """One job.

    Attributes:
        job: its number in the sweep.
        verb: e.g. `plan`.
        overrides: what was set for this job, e.g. `planner.w=0.2`.
        run_dir: folder of its own files.
        result: what the verb returned; None where it failed.
        objectives: numbers of the result that the sweeper searches by; absent where none are named.
        error: class and message of the error; None where the job completed.
    """

    job: int
    verb: str
    overrides: tuple[str, ...]
    status: Literal["completed", "failed"]
    run_dir: str
    result: Any = None
    objectives: Mapping[str, float | None] | UnsetType = UNSET
    error: str | None = None


def append_job(path: Path, job: Job) -> None:
    """Add a whole line. The lock keeps lines whole when several processes add some, also where the disk is full.

    Raises:
        FileError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from None
    with LineFile(path, append=True) as lines, lines.locked():
        lines.write(json_line(job))


def read_sweep(path: Path) -> list[Job]:
    """Read the jobs, by number; the file has them in the order they ended.

    Raises:
        FileError: missing, or a line is not JSON or not this format; the message says which.
    """
    return sorted(read_lines(path, Job, "sweep", "a multirun (-m) writes one"), key=lambda job: job.job)
