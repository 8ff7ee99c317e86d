"""`midcut edge`: answer requests or a folder of images, moving the cut as clock and link change."""

from __future__ import annotations

import asyncio
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import structlog
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from rich.console import Console

from midcut.config.settings import InputFolder
from midcut.edge.assembly import assemble
from midcut.edge.frontend.server import make_app
from midcut.edge.frontend.stream import image_files, read_labels, stream
from midcut.edge.frontend.summary import as_table, summarise
from midcut.errors import ConfigError
from midcut.reporting import check_installed
from midcut.results.stream import PLOT, RECORDS, SUMMARY, read_records, write_summary
from midcut.serving import check_server, event_loop, serve, stop_signals

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.config.settings import CalibrationSettings, EngineSettings, InputServer
    from midcut.edge.assembly import AssembledEdge

_log = structlog.get_logger("midcut.edge")


def run(cfg: DictConfig) -> dict[str, Any] | None:
    """Serve until SIGTERM or Ctrl-C, or stream a folder to its end.

    Returns:
        the stream's summary; a sweep records it.
    """
    _check(cast("EngineSettings", OmegaConf.to_object(cfg.engine)))
    _check_calibration(cfg.calibration)
    source = cast("InputServer | InputFolder", OmegaConf.to_object(cfg.input))
    _check_source(source)
    return event_loop.run(_run(assemble(cfg), source, cfg.engine.threads))


async def _run(edge: AssembledEdge, source: InputServer | InputFolder, threads: int) -> dict[str, Any] | None:
    # Images are decoded on the loop's own threads; torch's thread count holds on the thread that sets it.
    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(initializer=torch.set_num_threads, initargs=(threads,))
    )
    stop = stop_signals()
    try:
        await edge.engine.start()
        if isinstance(source, InputFolder):
            return await _stream(edge, source, stop)
        await serve(make_app(edge.engine, edge.model, source, edge.metrics.registry), source, _ready, stop)
        return None
    finally:
        await edge.engine.close()


async def _stream(edge: AssembledEdge, source: InputFolder, stop: asyncio.Event) -> dict[str, Any]:
    engine, model = edge.engine, edge.model
    folder = Path(HydraConfig.get().runtime.output_dir)
    done = await stream(engine, model, source, folder / RECORDS, stop)
    calibration = engine.calibration.state() if engine.calibration is not None else None
    summary = summarise(model.name, done, engine.parts.planning.counts, calibration)
    write_summary(folder / SUMMARY, summary)
    console = Console()
    console.print(as_table(summary, f"{model.name}, {source.path}"), highlight=False)
    written = [RECORDS, SUMMARY]
    if source.plot and done.records and _draw(folder, model.name):
        written.append(PLOT)
    console.print(f"in {folder}: {', '.join(written)}", highlight=False, soft_wrap=True)
    return cast("dict[str, Any]", msgspec.to_builtins(summary))


def _draw(folder: Path, name: str) -> bool:
    try:
        check_installed("input.plot=true")
    except ConfigError as error:  # the results are worth more than their picture
        _log.warning(f"no {PLOT}", reason=str(error))
        return False
    from midcut.reporting.figures_runs import draw_streams  # noqa: PLC0415 - matplotlib, which a server never needs
    from midcut.reporting.style import figure_style, save_figure  # noqa: PLC0415

    with figure_style():
        save_figure(draw_streams({name: read_records(folder / RECORDS)}), folder / PLOT)
    return True


def _ready(url: str) -> None:
    sys.stdout.write(f"midcut edge ready on {url}\n")
    sys.stdout.flush()


def _check_source(source: InputServer | InputFolder) -> None:
    """What cannot be served or streamed is said before models are loaded."""
    if isinstance(source, InputFolder):
        image_files(source)
        read_labels(source.labels)
        return
    check_server(source, "input")
    if not 0.0 <= source.max_body_mb < math.inf:
        raise ConfigError(f"input.max_body_mb must be 0 or more, got {source.max_body_mb}")
    if source.max_pixels < 1:
        raise ConfigError(f"input.max_pixels must be at least 1, got {source.max_pixels}")
    if source.max_requests < 1:
        raise ConfigError(f"input.max_requests must be at least 1, got {source.max_requests}")


def _check_calibration(settings: CalibrationSettings) -> None:
    if settings.window < 3:
        raise ConfigError(f"calibration.window must be at least 3 requests, got {settings.window}")
    if settings.forget_s is not None and not settings.forget_s > 0.0:
        raise ConfigError(f"calibration.forget_s must be over 0, or null, got {settings.forget_s}")


def _check(settings: EngineSettings) -> None:
    if not settings.interval_s > 0.0:
        raise ConfigError(f"engine.interval_s must be over 0, got {settings.interval_s}")
    if settings.threads < 1:
        raise ConfigError(f"engine.threads must be at least 1, got {settings.threads}")
    if settings.dwell < 0:
        raise ConfigError(f"engine.dwell must be 0 or more planning steps, got {settings.dwell}")
    if not settings.retry_after_s >= 0.0:
        raise ConfigError(f"engine.retry_after_s must be 0 or more, got {settings.retry_after_s}")
    if settings.breaker_failures < 1:
        raise ConfigError(f"engine.breaker_failures must be at least 1, got {settings.breaker_failures}")
    if settings.deadline_s is not None and not settings.deadline_s > 0.0:
        raise ConfigError(f"engine.deadline_s must be over 0, got {settings.deadline_s}")
