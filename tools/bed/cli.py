"""Command line of `tools/testbed up|run|down|check`."""

from __future__ import annotations

import argparse
import csv
import json
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bed import calibration, schedule
from bed.errors import BedError
from bed.options import CLOCKS, LINKS, BedOptions
from bed.testbed import Bed
from midcut.errors import MidcutError
from midcut.traces import Trace, write_trace

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from bed.calibration import Row

CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        options = _parser().parse_args(arguments)
        status: int = options.command(options)
    except MidcutError as error:
        print(f"tools/testbed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/testbed", description="Two hosts on one machine, with a link and a clock that can be set (root)."
    )
    commands = parser.add_subparsers(required=True, metavar="up|run|down|check")
    up = commands.add_parser("up", help="make a bed that stands until `down`")
    up.set_defaults(command=_up)
    _add_bed_options(up)
    run = commands.add_parser("run", help="run a command on a host of the standing bed, play a schedule, or both")
    run.set_defaults(command=_run)
    _add_run_options(run)
    down = commands.add_parser("down", help="remove the standing bed, and what killed ones left")
    down.set_defaults(command=_down)
    check = commands.add_parser("check", help="make a bed, and measure its rate, delay and clock; fails if inaccurate")
    check.set_defaults(command=_check)
    _add_bed_options(check)
    check.add_argument("--quick", action="store_true", help="fewer points and repeats")
    check.add_argument("--out", metavar="DIR", type=Path, help="write check.json and check.csv there")
    return parser


def _add_bed_options(parser: argparse.ArgumentParser) -> None:
    known = BedOptions()
    parser.add_argument("--link", choices=LINKS, default=known.link, help="default %(default)s")
    parser.add_argument("--clock", choices=CLOCKS, default=known.clock, help="default %(default)s")
    parser.add_argument("--max-clock-mhz", metavar="MHZ", type=float, default=known.max_clock_mhz, help="full speed")
    parser.add_argument("--congestion-control", metavar="NAME", default=known.congestion_control, help="TCP's")
    parser.add_argument("--slow-start-after-idle", action="store_true", help="as is the default of Linux")
    parser.add_argument("--edge-core", metavar="N", type=int, default=known.edge_core)
    parser.add_argument("--cloud-core", metavar="N", type=int, default=known.cloud_core)
    parser.add_argument("--seed", metavar="N", type=int, default=known.seed, help="of a lossy link")
    parser.add_argument(
        "--no-trim", dest="trim", action="store_false", help="do not compensate the cost of the emulation"
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    kinds = ", ".join(schedule.KINDS)
    parser.add_argument("--in", dest="host", choices=("edge", "cloud"), default="edge", help="where the command runs")
    parser.add_argument(
        "--trace",
        metavar="KIND|FILE",
        help=f"play {kinds}, or a trace file (.up and .down: mahimahi's), while the command runs",
    )
    parser.add_argument(
        "--packets",
        choices=("auto", "yes", "no"),
        default="auto",
        help="mahimahi's traces packet by packet, the way of the name, or as rates, both ways; auto: by the link",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the schedule")
    parser.add_argument("--duration", metavar="S", type=float, default=600.0, help="of the schedule (default 600)")
    parser.add_argument("--step", metavar="S", type=float, default=5.0, help="seconds a step holds (default 5)")
    parser.add_argument("--max-clock-mhz", metavar="MHZ", type=float, default=1500.0, help="with --print only")
    parser.add_argument(
        "--print", dest="show", metavar="FILE", type=Path, help="write the schedule as CSV; play nothing"
    )
    parser.add_argument("--bandwidth-kbps", metavar="R", type=float, help="set the link first")
    parser.add_argument("--ping-ms", metavar="MS", type=float, help="likewise")
    parser.add_argument("--loss", metavar="SHARE", type=float, help="likewise")
    parser.add_argument("--clock-mhz", metavar="MHZ", type=float, help="set the clock first")
    parser.add_argument("words", nargs="*", metavar="COMMAND", help="after --")


def _bed_options(options: argparse.Namespace) -> BedOptions:
    return BedOptions(**{name: getattr(options, name) for name in vars(BedOptions())})


def _up(options: argparse.Namespace) -> int:
    bed = Bed.up(_bed_options(options))
    for name, value in bed.describe().items():
        print(f"{name}: {'; '.join(value) if isinstance(value, list) else value}")
    for host in (bed.edge, bed.cloud):
        print(f"{host.name}: {host.address} in the network namespace {host.namespace}, core {host.core}")
    print(f"overrides for an edge: {' '.join(bed.clock.edge_overrides)}")
    return 0


def _down(_: argparse.Namespace) -> int:
    removed = Bed.down()
    print(f"removed: {', '.join(removed)}" if removed else "there is no bed")
    return 0


def _run(options: argparse.Namespace) -> int:
    if options.show is not None:
        write_trace(options.show, _schedule(options, options.max_clock_mhz))
        return 0
    bed = Bed.standing()
    bed.link.set(bandwidth_kbps=options.bandwidth_kbps, ping_ms=options.ping_ms, loss=options.loss)
    if options.clock_mhz is not None:
        bed.clock.set(options.clock_mhz)
    stop = threading.Event()
    player = None
    if options.trace is not None:
        player = threading.Thread(target=_player(options, bed, stop), name="schedule", daemon=True)
        player.start()
    try:
        if options.words:
            host = bed.edge if options.host == "edge" else bed.cloud
            return _exit_status(host.popen(options.words))
        if player is not None:
            player.join()
        return 0
    finally:
        stop.set()
        if player is not None:
            player.join()  # a step that has begun is still set and saved


def _player(options: argparse.Namespace, bed: Bed, stop: threading.Event) -> Callable[[], object]:
    """What plays the trace; a trace that cannot be played is refused before."""
    trace = _schedule(options, bed.clock.max_mhz)
    recorded = options.trace.endswith(schedule.RECORDED)
    if options.packets == "yes" and not (recorded and bed.link.kind == "tun"):
        raise BedError(f"--packets yes is for a mahimahi trace on link=tun, not for {options.trace} on {bed.link.kind}")
    if recorded and options.packets != "no" and bed.link.kind == "tun":
        return partial(schedule.play_packets, bed, Path(options.trace), stop, loop=bool(options.words))
    return partial(schedule.play, bed, trace, stop)


def _schedule(options: argparse.Namespace, max_clock_mhz: float) -> Trace:
    if options.trace is None:
        raise BedError("--print needs --trace KIND|FILE")
    times = {"duration_s": options.duration, "step_s": options.step}
    return schedule.schedule(options.trace, seed=options.seed, max_clock_mhz=max_clock_mhz, **times)


def _exit_status(process: subprocess.Popen[bytes]) -> int:
    with process:
        try:
            status = process.wait()
        except KeyboardInterrupt:  # the terminal sent it to the command too, which decides when to end
            status = process.wait()
    return status if status >= 0 else 128 - status


def _check(options: argparse.Namespace) -> int:
    rows: list[Row] = []
    with Bed(_bed_options(options)) as bed:
        about = bed.describe()
        print(f"link: {about['link']}; clock: {about['clock']}; kernel {about['kernel']}")
        for note in about["notes"]:
            print(f"  {note}")
        if about["other_beds"]:
            print(f"  {about['other_beds']} more test bed(s) run on this machine and disturb this one")
        for row in calibration.measure_each(bed, calibration.QUICK if options.quick else calibration.Plan()):
            print(f"{row.what} {row.asked:g} {row.unit}: {row.obtained:.4g} ({row.error:+.2%})", file=sys.stderr)
            rows.append(row)
    _show(rows)
    if options.out is not None:
        _write(options.out, about, rows)
    calibration.require_within(rows, calibration.LIMIT)
    return 0


def _show(rows: Sequence[Row]) -> None:
    table = Table("what", "asked", "obtained", "quartiles", "error", "repeats", f"within {calibration.LIMIT:.0%}")
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        spread = f"{row.low:.4g} to {row.high:.4g}"
        verdict = "yes" if row.within() else "NO"
        obtained = f"{row.obtained:.4g} {row.unit}"
        table.add_row(
            row.what, f"{row.asked:g} {row.unit}", obtained, spread, f"{row.error:+.2%}", str(row.repeats), verdict
        )
    CONSOLE.print(table)


def _write(folder: Path, about: dict[str, object], rows: Sequence[Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fields = [row.fields() for row in rows]
    (folder / "check.json").write_text(json.dumps({"bed": about, "rows": fields}, indent=1) + "\n", encoding="utf-8")
    with (folder / "check.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields[0])
        writer.writeheader()
        writer.writerows(fields)
