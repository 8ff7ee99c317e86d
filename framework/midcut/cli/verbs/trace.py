"""`midcut trace import`: makes midcut's traces of recorded links in the formats of the field."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from midcut.config.registry import registry
from midcut.errors import ConfigError, MidcutError
from midcut.fields import known_fields
from midcut.recordings import FORMATS, ReadOptions, Repeats, average_in_bins, fill_columns, read_recording
from midcut.traces import write_trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midcut.traces import Trace
    from midcut.types import Floats


def main(arguments: Sequence[str]) -> int:
    """Import recordings; the exit status is 1 when one could not be imported."""
    registry()  # plugins name further fields
    options = _parser().parse_args(arguments)
    try:
        fill, columns = _pairs("--fill", options.fill), _pairs("--columns", options.columns)
        numbers = {name: _fill_value(name, value) for name, value in fill.items()}
        files = [file for place in options.files for file in _files(place)]
        targets = _targets(files, options.out)
    except MidcutError as error:
        sys.stderr.write(f"midcut trace: {error}\n")
        return 1
    read_options = ReadOptions(
        Repeats(options.repeats),
        options.direction,
        columns,
        options.packet_bytes,
        0.1 if options.bin_s is None else options.bin_s,
    )
    failed = False
    for file, target in targets:
        try:
            sys.stdout.write(_import(options.format, file, target, read_options, options.bin_s, numbers))
        except (MidcutError, OSError) as error:
            failed = True
            sys.stderr.write(f"midcut trace: {error}\n")
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="midcut trace",
        description="Make midcut traces (CSV, first row at 0 s) of recorded links.",
        epilog="formats:\n" + "".join(f"  {name:<10}{known.summary}\n" for name, known in FORMATS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="import")
    action = actions.add_parser(
        "import",
        help="import recordings of one format",
        epilog=parser.epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    action.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    action.add_argument("files", nargs="+", metavar="FILE", help="files, or folders of them, each file one trace")
    action.add_argument("--out", default=".", metavar="DIR|FILE.csv", help="where to write FILE.csv; default: here")
    action.add_argument("--bin-s", type=float, metavar="S", help="means over bins of so many seconds (mahimahi: 0.1)")
    action.add_argument("--fill", default="", metavar="NAME=X,...", help="missing columns: clock_mhz=1500,ping_ms=20")
    action.add_argument(
        "--columns", default="", metavar="NAME=COLUMN,...", help="of csv: time_s=t,bandwidth_kbps=#15*1000"
    )
    action.add_argument("--direction", choices=("down", "up"), default="down", help="of ucc; default %(default)s")
    action.add_argument("--packet-bytes", type=int, default=1500, metavar="N", help="of mahimahi; default %(default)s")
    action.add_argument(
        "--repeats", choices=[each.value for each in Repeats], default="merge",
        help="rows that repeat a time: their mean; rows that go back: left out; or refuse both (default %(default)s)",
    )  # fmt: skip
    return parser


def _pairs(option: str, text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not value or name in pairs:
            raise ConfigError(f"{option} takes NAME=VALUE,..., each name once, got {part!r}")
        pairs[name.strip()] = value.strip()
    return pairs


def _fill_value(name: str, text: str) -> float:
    field = known_fields().get(name)
    if field is None:
        raise ConfigError(f"--fill: unknown column {name!r}; there are {', '.join(known_fields())}")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (value < float("inf") and field.allows(value)):
        raise ConfigError(f"--fill: {name} must be a finite number {field.bound}, got {text!r}")
    return value


def _files(place: str) -> list[Path]:
    path = Path(place).expanduser()
    if not path.is_dir():
        return [path]
    files = sorted(each for each in path.rglob("*") if each.is_file() and not each.name.startswith("."))
    if not files:
        raise ConfigError(f"{path}: there is no file in the folder")
    return files


def _targets(files: Sequence[Path], out: str) -> list[tuple[Path, Path]]:
    """Each file with what it becomes; in a folder, files of one name in several folders get their folder's name too."""
    if out.endswith((".csv", ".json")):
        if len(files) > 1:
            raise ConfigError(f"--out={out} is one file, but there are {len(files)} recordings; give a folder")
        return [(files[0], Path(out))]
    names = [file.name for file in files]
    named = [
        (file, Path(out) / f"{file.name if names.count(file.name) == 1 else '-'.join(file.parts[-2:])}.csv")
        for file in files
    ]
    _check_distinct(target for _, target in named)
    return named


def _check_distinct(targets: Iterable[Path]) -> None:
    seen: set[Path] = set()
    for target in targets:
        if target in seen:
            raise ConfigError(f"two recordings would become {target}; import them into different folders")
        seen.add(target)


def _import(
    name: str, file: Path, target: Path, options: ReadOptions, bin_s: float | None, fill: dict[str, float]
) -> str:
    """Import one file; returns a line about it."""
    recording = read_recording(name, file, options)
    trace = recording.trace
    if bin_s is not None and name != "mahimahi":
        trace = average_in_bins(trace, bin_s)
    trace = fill_columns(trace, fill)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_trace(target, trace)
    kbps = trace.fields.get("bandwidth_kbps")
    link = ""
    if kbps is not None:
        link = f", mean {_mean(trace, kbps):.0f} kbit/s, {(kbps == 0.0).mean():.1%} of rows without any"
    return (
        f"{target}: {len(trace.time_s)} rows, {trace.period_s:g} s{link}{''.join(f'; {n}' for n in recording.notes)}\n"
    )


def _mean(trace: Trace, values: Floats) -> float:
    """The mean over time: rows may last differently."""
    return float(np.average(values, weights=np.diff(np.append(trace.time_s, trace.period_s))))
