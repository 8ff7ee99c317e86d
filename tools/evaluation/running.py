"""Runs experiments one after another: one that fails does not end the others."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bed import BedUnavailable

from midcut.errors import MidcutError
from midcut.results.evaluation import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from evaluation.options import Options

FINISHED = "finished.txt"
"""In an experiment's folder: the options it was finished with."""


def run_each(
    experiments: Mapping[str, Callable[[Options], None]], options: Options, resuming: Collection[str]
) -> list[str]:
    """Run all; returns the names of those that failed, each with a line on stderr.

    Args:
        experiments: by name, which is also that of its folder.
        resuming: those that can go on where they were stopped. With `options.resume`, another one that was finished
            with the same options is left as it is, and one that was not begins anew.

    Raises:
        BedUnavailable: the others would not run either.
    """
    failed = []
    for name, run in experiments.items():
        try:
            _run_or_skip(name, run, options, resumes=options.resume and name in resuming)
        except BedUnavailable:
            raise
        except MidcutError as error:
            failed.append(name)
            print(f"tools/evaluate: {name}: {type(error).__name__}: {_one_line(error)}", file=sys.stderr, flush=True)
    return failed


def _run_or_skip(name: str, run: Callable[[Options], None], options: Options, *, resumes: bool) -> None:
    written, finished = options.out / name / FILE, options.out / name / FINISHED
    text = repr(replace(options, out=Path(), resume=False))
    if options.resume and not resumes and written.exists() and finished.exists() and finished.read_text() == text:
        print(f"{name}: finished already: {written}", flush=True)
        return
    finished.unlink(missing_ok=True)
    if not resumes:
        written.unlink(missing_ok=True)  # an earlier run's: it does not go with the rows to come
    run(options)
    print(f"{name}: {written}", flush=True)
    finished.write_text(text)


def _one_line(error: Exception) -> str:
    """The first line of its message; where a log follows, the log's last line too."""
    first, *others = str(error).strip().splitlines() or [""]
    return f"{first} {others[-1]}" if others else first
