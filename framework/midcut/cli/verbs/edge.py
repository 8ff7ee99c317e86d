"""`midcut edge`: answer requests or a folder of images, moving the cut as clock and link change."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import structlog
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from midcut.cli.tables import table_console
from midcut.component import Kind
from midcut.config.build import build, build_each
from midcut.config.settings import InputFolder, InputServer, StreamServer
from midcut.config.settings.bounds import count_threads
from midcut.edge.assembly import assemble
from midcut.edge.frontend.folder import image_files, read_labels
from midcut.edge.frontend.frame_stream import stream_frames
from midcut.edge.frontend.outputs import Outputs
from midcut.edge.frontend.server import app_of
from midcut.edge.frontend.stream import stream
from midcut.edge.frontend.summary import summarise, summary_table
from midcut.errors import ConfigError, FileError
from midcut.reporting import check_installed
from midcut.results.lines import reserved_space
from midcut.results.stream import PLOT, RECORDS, SUMMARY, read_records, write_summary
from midcut.serving import Served, check_credentials, event_loop, serve, stop_signals
from midcut.tensors import set_threads
from midcut.wire.tracing import start_tracing

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.edge.assembly import AssembledEdge
    from midcut.edge.frontend.stream import StreamOutcome
    from midcut.edge.page.live import LiveRecord
    from midcut.protocols import Input
    from midcut.results.stream import Summary

_log = structlog.get_logger("midcut.edge")


def run(cfg: DictConfig) -> dict[str, Any] | None:
    """Serve until SIGTERM or Ctrl-C, or stream a folder to its end.

    Returns:
        the stream's summary; a sweep records it.
    """
    # Before the model is loaded.
    source = _checked_source(cfg)
    server = _checked_server(cfg, source)
    outputs = Outputs(build_each(Kind.OUTPUT, cfg.output))
    threads = count_threads("engine.threads", cfg.engine.threads)
    end_tracing = start_tracing("midcut edge")
    try:
        return event_loop.run(_run(assemble(cfg), source, server, outputs, threads))
    finally:
        outputs.close()
        end_tracing()


def _checked_source(cfg: DictConfig) -> InputServer | InputFolder | Input:
    if "_target_" in cfg.input:
        component = cast("Input", build(Kind.INPUT, cfg.input))
        component.check()
        return component
    source = cast("InputServer | InputFolder", OmegaConf.to_object(cfg.input))
    if isinstance(source, InputFolder):
        image_files(source)
        read_labels(source.labels)
    else:
        check_credentials(source)
    return source


def _checked_server(cfg: DictConfig, source: InputServer | InputFolder | Input) -> StreamServer:
    server = cast("StreamServer", OmegaConf.to_object(cfg.server))
    if server.enabled and isinstance(source, InputServer):
        raise ConfigError("server.enabled=true is for streams: input=server serves already, with the settings of input")
    if server.enabled:
        check_credentials(server)
    elif unused := [name for name, value in vars(StreamServer()).items() if getattr(server, name) != value]:
        names = ", ".join(f"server.{name}" for name in unused)
        if isinstance(source, InputServer):
            meant = f"input=server takes {', '.join(f'input.{name}' for name in unused)}"
        else:
            meant = "server.enabled=true serves beside the stream"
        _log.warning(f"without effect: {names}; {meant}")
    return server


async def _run(
    edge: AssembledEdge,
    source: InputServer | InputFolder | Input,
    server: StreamServer,
    outputs: Outputs,
    threads: int,
) -> dict[str, Any] | None:
    # Images are decoded on the loop's own threads; torch's thread count holds on the thread that sets it.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(initializer=set_threads, initargs=(threads,)))
    stop = stop_signals()
    try:
        await edge.engine.start()
        event_loop.freeze_objects()
        if isinstance(source, InputServer):
            app = app_of(edge, source, outputs.emit_each)
            await serve(app, source, _ready, stop)
            return None
        if not server.enabled:
            streamed = await _stream(edge, source, outputs, stop)
        else:
            # The same signal stops both: readiness is off while the stream still finishes its window.
            served = Served(app_of(edge, server, outputs.emit_each), server, stop)
            try:
                _ready(await served.url())
                streamed = await _stream(edge, source, outputs, stop, edge.page.live)
            finally:
                await served.stop()
        _report(streamed)
        return cast("dict[str, Any]", msgspec.to_builtins(streamed.summary))
    finally:
        await edge.engine.close()


@dataclass(frozen=True)
class _Streamed:
    """A stream that ended, with its summary on disk.

    Attributes:
        name: what was streamed: a folder or a camera.
        plot: whether the plot is wanted.
    """

    folder: Path
    model: str
    name: str
    outcome: StreamOutcome
    summary: Summary
    plot: bool


async def _stream(
    edge: AssembledEdge,
    source: InputFolder | Input,
    outputs: Outputs,
    stop: asyncio.Event,
    live: LiveRecord | None = None,
) -> _Streamed:
    engine, model = edge.engine, edge.model
    folder = Path(HydraConfig.get().runtime.output_dir)
    with reserved_space(folder):
        if isinstance(source, InputFolder):
            name = source.path
            done = await stream(engine, model, source, folder / RECORDS, stop, outputs.emit_each, live)
        else:
            name = source.source
            sys.stdout.write(f"midcut edge takes frames of {name}\n")
            sys.stdout.flush()
            done = await stream_frames(engine, model, source, folder / RECORDS, stop, outputs.emit_each, live)
    calibration = engine.calibration.state() if engine.calibration is not None else None
    summary = summarise(model.name, done, engine.parts.planning.counts, calibration, engine.parts.clouds.never_reached)
    write_summary(folder / SUMMARY, summary)
    return _Streamed(folder, model.name, name, done, summary, source.plot)


def _report(streamed: _Streamed) -> None:
    """Print and draw a stream's results. It blocks for seconds: nothing may be served any more.

    Raises:
        FileError: the stream ended because a result could not be written.
    """
    folder, done = streamed.folder, streamed.outcome
    console = table_console()
    console.print(summary_table(streamed.summary, f"{streamed.model}, {streamed.name}"), highlight=False)
    written = [RECORDS, SUMMARY]
    if streamed.plot and done.totals.answered and not done.failure and _draw(folder, streamed.model):
        written.append(PLOT)
    console.print(f"in {folder}: {', '.join(written)}", highlight=False, soft_wrap=True)
    if done.failure:
        raise FileError(f"{done.failure}; the stream ended there, with {done.totals.answered} answers in {RECORDS}")


def _draw(folder: Path, name: str) -> bool:
    try:
        check_installed("input.plot=true")
    except ConfigError as error:  # the results are worth more than their picture
        _log.warning(f"no {PLOT}", reason=str(error))
        return False
    from midcut.reporting.figures_runs import draw_streams  # noqa: PLC0415 - matplotlib, which a server never needs
    from midcut.reporting.style import figure_style, save_figure  # noqa: PLC0415

    try:
        with figure_style():
            save_figure(draw_streams({name: read_records(folder / RECORDS)}), folder / PLOT)
    except OSError as error:
        _log.warning(f"no {PLOT}", reason=error.strerror or str(error))
        return False
    return True


def _ready(url: str) -> None:
    sys.stdout.write(f"midcut edge ready on {url}\n")
    sys.stdout.flush()
