"""The table that a sweep ends with: a row for every job, with what was set and the main numbers of its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from midcut.cli.tables import table_console
from midcut.results.sweep import read_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from midcut.results.sweep import Job

_MOST_ROWS = 200
_MOST_COLUMNS = 8
# Numbers of a result as people read them: title, factor, digits.
_SHOWN = {"latency_s": ("latency ms", 1e3, 2), "cost_usd": ("cost µ$", 1e6, 3), "wall_s": ("wall s", 1.0, 1)}
_WORDS = ("cut", "codec", "after", "model", "requests", "fallbacks", "accuracy", "title")


def print_jobs(path: Path) -> None:
    """Print the jobs of a `sweep.jsonl`, in order of their numbers."""
    jobs = sorted(read_sweep(path), key=lambda job: job.job)
    keys = list(dict.fromkeys(word.partition("=")[0] for job in jobs for word in job.overrides))
    results = [_flat(job.result) for job in jobs]
    names = list(dict.fromkeys(name for result in results for name in result))[:_MOST_COLUMNS]
    table = Table("job", *keys, *(_title(name) for name in names), "", box=None, pad_edge=False)
    for job, result in list(zip(jobs, results, strict=True))[:_MOST_ROWS]:
        given = dict(word.partition("=")[::2] for word in job.overrides)
        cells = [given.get(key, "") for key in keys] + [_cell(name, result.get(name)) for name in names]
        table.add_row(str(job.job), *cells, _error_text(job), style="red" if job.error else None)
    console = table_console()
    console.print(table, highlight=False, markup=False)
    if len(jobs) > _MOST_ROWS:
        console.print(f"... and {len(jobs) - _MOST_ROWS} more", highlight=False)
    console.print(f"{len(jobs)} jobs in {path}", highlight=False, soft_wrap=True)


def _flat(result: Any, prefix: str = "") -> dict[str, Any]:
    """The numbers and words of a result that a row shows; those of a planner with its name in front."""
    shown: dict[str, Any] = {}
    for name, value in result.items() if isinstance(result, dict) else ():
        last = name.rpartition(".")[2]
        if last in _SHOWN or (not prefix and name in _WORDS):
            shown |= {f"{prefix}{name}": value} if isinstance(value, int | float | str) else _median_of(name, value)
        elif isinstance(value, dict) and not prefix:
            shown |= _flat(value, f"{name}.")
    return shown


def _median_of(name: str, value: Any) -> dict[str, Any]:
    """The median of what a stream gives as `latency_s: {median, p95, max}`."""
    return {name: value["median"]} if isinstance(value, dict) and value.get("median") is not None else {}


def _title(name: str) -> str:
    prefix, dot, last = name.rpartition(".")
    return f"{prefix}{dot}{_SHOWN[last][0]}" if last in _SHOWN else name


def _cell(name: str, value: Any) -> str:
    last = name.rpartition(".")[2]
    if last in _SHOWN and isinstance(value, int | float):
        _, factor, digits = _SHOWN[last]
        return f"{value * factor:.{digits}f}"
    return "" if value is None else str(value)


def _error_text(job: Job) -> str:
    return "" if job.error is None else job.error.partition("\n")[0]
