"""`midcut report`: one page, its figures and tables, from run and sweep directories."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from midcut.errors import MidcutError
from midcut.reporting import check_installed

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Write the report; the exit status is 1 when there are no results or they cannot be read."""
    parser = argparse.ArgumentParser(
        prog="midcut report",
        description="Turn run and sweep directories of simulate, fit, plan and edge, and folders of tools/evaluate, "
        "into one page: report.html (needs nothing else), figures/ (PNG and SVG), report.md (tables), report.json "
        "(the numbers).",
        epilog="example: midcut report outputs/simulate multirun/plan --out report --title 'AlexNet on a slow link'",
    )
    parser.add_argument("dirs", metavar="DIR", nargs="+", type=Path, help="a run, a sweep, or a folder of several")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("report"), help="folder to write (report)")
    parser.add_argument("--title", metavar="TEXT", help="heading of the page")
    options = parser.parse_args(arguments)
    try:
        files = _write_report(options.dirs, options.out, options.title)
    except MidcutError as error:
        sys.stderr.write(f"midcut report: {error}\n")
        return 1
    sys.stdout.write(f"written: {files[0]} and {len(files) - 1} files beside it\n")
    return 0


def _write_report(folders: Sequence[Path], out: Path, title: str | None) -> list[Path]:
    check_installed("a report")
    from midcut.reporting.load import read_results  # noqa: PLC0415 - matplotlib, which --help does not need
    from midcut.reporting.report import make_report  # noqa: PLC0415
    from midcut.reporting.report_files import write_report  # noqa: PLC0415

    return write_report(make_report(read_results(folders), title), out)
