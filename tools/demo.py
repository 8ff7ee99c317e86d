"""A cloud and an edge process stream images through two models while the link and the clock change.

Two things are emulated, and the output says so: a user-space proxy (`midcut.proxies.link`) limits bandwidth and adds
delay between edge and cloud, and the edge's clock is slowed down by stretching the computations
(`executor=emulated_clock`). Everything else is real.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common.processes import MIDCUT, running, server, start, stop
from rich.console import Console
from rich.table import Table

from midcut.reporting.figures_runs import draw_streams
from midcut.reporting.style import figure_style, save_figure
from midcut.results.stream import RECORDS, SUMMARY, read_records, read_summary
from midcut.traces import Trace, read_trace, write_trace

CONSOLE = Console(highlight=False)
# The edge's full clock is called 6000 MHz: at 1500 MHz it is then four times slower than the cloud, and at 600 MHz
# ten times, about as a Raspberry Pi 4 compared with a server.
FULL_CLOCK_MHZ = 6000
TRACE = [
    {"time_s": 0, "clock_mhz": 1500, "bandwidth_kbps": 20_000, "ping_ms": 10},
    {"time_s": 6, "clock_mhz": 600, "bandwidth_kbps": 20_000, "ping_ms": 10},
    {"time_s": 12, "clock_mhz": 600, "bandwidth_kbps": 2_000, "ping_ms": 10},
    {"time_s": 18, "clock_mhz": 1500, "bandwidth_kbps": 2_000, "ping_ms": 60},
    {"time_s": 24, "clock_mhz": 1500, "bandwidth_kbps": 50_000, "ping_ms": 10},
]
LAST_ROW_S = 8.0  # how long the trace's last row lasts


def main() -> int:
    options = arguments()
    out = Path(options.out or tempfile.mkdtemp(prefix="midcut-demo-")).resolve()  # processes are started inside it
    out.mkdir(parents=True, exist_ok=True)
    trace = out / "trace.csv"
    write_trace(trace, Trace.from_rows(TRACE))
    streams = {
        "mnist": digits(),
        "efficientnet_lite0": Path(options.photos).resolve() if options.photos else photos(out / "photos"),
    }
    CONSOLE.print(f"[bold]midcut demo[/]: results go to {out}")
    seconds = profile(out, list(streams))
    runs = {}
    with server("cloud", out / "cloud.log", f"model=[{','.join(streams)}]", "server.port=0") as url:
        CONSOLE.print(f"cloud: process ready at {url}, serves {' and '.join(streams)}")
        for model, folder in streams.items():
            runs[model] = stream(model, folder, url, trace, out, options, start_s=seconds[model])
    report(out, runs, trace)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/demo", description=__doc__)
    parser.add_argument(
        "--photos", metavar="DIR", help="a folder of images for EfficientNet-Lite0, instead of scikit-image's"
    )
    parser.add_argument("--requests", metavar="N", type=int, default=64, help="per model (default 64)")
    parser.add_argument(
        "--w", metavar="W", type=float, default=0.5, help="weight of the cost, from 0 (fast) to 1 (cheap) (default 0.5)"
    )
    parser.add_argument("--out", metavar="DIR", help="where results go (default a new temporary folder)")
    return parser.parse_args()


def digits() -> Path:
    """The test digits that ship with the MNIST model."""
    import midcut_models  # noqa: PLC0415 - to find its folder

    return Path(midcut_models.__file__).parent / "digits"


def photos(folder: Path) -> Path:
    """The colour photographs inside scikit-image's wheel, as files."""
    from PIL import Image  # noqa: PLC0415 - not needed with --photos
    from skimage import data  # noqa: PLC0415 - likewise

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).convert("RGB").save(folder / f"{name}.png")
    return folder


def profile(out: Path, models: list[str]) -> dict[str, float]:
    """Profile both sides on this machine, as a user would once per machine. Returns the seconds of a profile."""
    seconds: dict[str, float] = {}
    for model in models:
        for role in ("edge", "cloud"):
            CONSOLE.print(f"profiling {model} as {role} ...")
            began = time.monotonic()
            overrides = (f"model={model}", f"role={role}", f"stated_clock_mhz={FULL_CLOCK_MHZ}", "repeats=15")
            command = [*MIDCUT, "profile", *overrides, f"out={out}/profiles/{role}-{model}.json"]
            finished = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
            if finished.returncode:
                sys.exit(f"tools/demo: midcut profile failed:\n{finished.stderr}")
            seconds[model] = time.monotonic() - began
    return seconds


def stream(
    model: str, folder: Path, url: str, trace: Path, out: Path, options: argparse.Namespace, *, start_s: float
) -> Path:
    """Run one edge process behind the slow link, and print every answer as it comes.

    Args:
        start_s: about how long the edge takes to start; the trace begins after that.

    Returns:
        the edge's run directory.
    """
    run, clock, log = out / model, out / f"clock-{model}", out / f"edge-{model}.log"
    duration_s = read_trace(trace).rebased().duration_s
    epoch_s = time.time() + start_s  # link and clock follow one trace
    link = [sys.executable, "-m", "midcut.proxies.link", "--upstream", url.removeprefix("http://")]
    command = [*link, "--trace", str(trace), "--epoch-s", str(epoch_s)]
    with running(command, out / "link.log", r"ready: (\S+) ->") as near:
        CONSOLE.rule(f"{model}: {options.requests} requests, w={options.w:g}, EMULATED link and clock by {trace.name}")
        edge = [
            *(*MIDCUT, "edge", f"model={model}", f"cloud_url=http://{near[1]}", f"planner.w={options.w}"),
            *(f"edge_profile={out}/profiles", f"cloud_profile={out}/profiles"),
            *("executor=emulated_clock", f"executor.trace={trace}", f"executor.root={clock}"),
            *(f"executor.max_clock_mhz={FULL_CLOCK_MHZ}", f"executor.epoch_s={epoch_s}"),
            *("telemetry=[cpufreq,http_ping,passive_bandwidth,bandwidth_probe]", f"telemetry.cpufreq.root={clock}"),
            *("telemetry.cpufreq.interval_s=0.2", "telemetry.bandwidth_probe.interval_s=2"),
            *("telemetry.bandwidth_probe.probe_bytes=60000", "telemetry.passive_bandwidth.forget_s=3"),
            # Seconds of client and server per request, beside the transfer of its bytes.
            "predictor.link.overhead_s=0.003",
            *("engine.interval_s=0.5", "input=folder", f"input.path={folder}", "input.repeat=1000"),
            *(f"input.limit={options.requests}", f"input.rate_hz={options.requests / (duration_s + LAST_ROW_S):.3f}"),
            f"hydra.run.dir={run}",
        ]
        if (folder / "labels.csv").exists():
            edge.append(f"input.labels={folder / 'labels.csv'}")
        process = start(edge, log, piped=False)
        try:
            follow(run / "results.jsonl", process)
        finally:
            stop(process)
    if process.returncode:
        sys.exit(f"tools/demo: the edge failed ({process.returncode}); its log:\n{log.read_text()[-3000:]}")
    return run


def follow(results: Path, process: subprocess.Popen[str]) -> None:
    """Print each line of `results.jsonl` as the edge writes it, until the edge has ended."""
    before: int | None = None
    position = 0
    while True:
        ended = process.poll() is not None
        lines = results.read_text().splitlines(keepends=True) if results.exists() else []
        for line in lines[position:]:
            if line.endswith("\n"):
                record = json.loads(line)
                print_record(record, before)
                before = record["cut"]
                position += 1
        if ended:
            return
        time.sleep(0.1)


def print_record(record: dict[str, Any], before: int | None) -> None:
    observation = record["decision"]["observation"]
    grade = ("[green]right[/]" if record["right"] else "[red]wrong[/]") if "right" in record else ""
    moved = before is not None and before != record["cut"]
    cut = f"[bold yellow]cut {before} -> {record['cut']}[/]" if moved else f"cut {record['cut']}"
    predicted = record["predicted"].get("latency_s")
    forecast = "no forecast" if predicted is None else f"predicted {predicted * 1e3:6.1f}"
    measured = " ".join(
        f"no {unit}" if observation[name] is None else f"{observation[name] / scale:.{digits}f} {unit}"
        for name, scale, digits, unit in (
            ("clock_mhz", 1, 0, "MHz"),
            ("bandwidth_kbps", 1000, 1, "Mbit/s"),
            ("ping_ms", 1, 0, "ms ping"),
        )
    )
    CONSOLE.print(
        f"#{record['n']:<3} {record['label'][:14]:<14} {grade:<5} {record['latency_s'] * 1e3:7.1f} ms ({forecast}) "
        f"{record['cost_usd'] * 1e6:7.3f} µ$  {cut}, {record['finished_by']} [dim]| {measured}[/] {record['fallback']}",
        soft_wrap=True,
    )


def report(out: Path, runs: dict[str, Path], trace: Path) -> None:
    """The closing table and `demo.png`."""
    columns = ("model", "right", "median ms", "95 %", "prediction error", "µ$", "switches", "cuts used")
    table = Table(
        *columns, title=f"[bold]midcut demo[/], link and clock EMULATED by {trace.name}", title_justify="left"
    )
    for model, run in runs.items():
        summary = json.loads((run / "summary.json").read_text())
        error = summary["prediction_error"]["latency_s"]
        table.add_row(
            model,
            f"{summary['right']} of {summary['graded']}" if summary["graded"] else f"{summary['requests']} answers",
            f"{summary['latency_s']['median'] * 1e3:.1f}",
            f"{summary['latency_s']['p95'] * 1e3:.1f}",
            "-" if error is None else f"{error:.1%}",
            f"{summary['cost_usd']['median'] * 1e6:.3f}",
            str(summary["switches"]),
            ", ".join(f"{cut} ({count})" for cut, count in summary["cuts"].items()),
        )
    CONSOLE.print(table)
    for model, run in runs.items():
        for name, gain in read_summary(run / SUMMARY).gains.items():
            CONSOLE.print(f"{model}: cutting was {gain} than {name}, by the forecasts in use")
    with figure_style():
        save_figure(draw_streams({model: read_records(run / RECORDS) for model, run in runs.items()}), out / "demo.png")
    CONSOLE.print(f"picture: {out / 'demo.png'}")


if __name__ == "__main__":
    sys.exit(main())
