"""`midcut edge`: answer requests or a folder of images, moving the cut as clock and link change."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import structlog
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from rich.console import Console

from midcut.component import Kind
from midcut.config.build import build, build_each, only
from midcut.config.registry import registry
from midcut.config.settings import InputFolder
from midcut.edge.calibration.calibration import Calibration
from midcut.edge.calibration.store import CalibrationStore
from midcut.edge.clouds.clouds import Clouds
from midcut.edge.clouds.greeting import CloudCapabilities
from midcut.edge.engine import EdgeEngine, EdgeParts
from midcut.edge.frontend.server import make_app
from midcut.edge.frontend.stream import RESULTS, image_files, read_labels, stream
from midcut.edge.frontend.summary import as_table, summarise
from midcut.edge.measured_codecs import measure_codecs
from midcut.edge.observers import Each
from midcut.edge.per_cloud import per_cloud, telemetry_sources
from midcut.edge.planning_loop import PlanningLoop
from midcut.edge.telemetry.hub import TelemetryHub
from midcut.errors import ConfigError
from midcut.graph import partition
from midcut.planning.assembly import build_codecs, build_policy
from midcut.planning.placements import placements
from midcut.reporting import check_installed
from midcut.serving import check_server, event_loop, serve, stop_signals
from midcut.serving.metrics import EdgeMetrics, new_registry

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.config.settings import CalibrationSettings, CutSettings, EngineSettings, InputServer
    from midcut.graph import Partition
    from midcut.planning.policy import Policy
    from midcut.protocols import Codec
    from midcut.types import CutTable, LoadedModel

_log = structlog.get_logger("midcut.edge")
SUMMARY = "summary.json"
PLOT = "stream.png"


def run(cfg: DictConfig) -> dict[str, Any] | None:
    """Serve until SIGTERM or Ctrl-C, or stream a folder to its end.

    Returns:
        the stream's summary; a sweep records it.
    """
    settings = cast("EngineSettings", OmegaConf.to_object(cfg.engine))
    source = cast("InputServer | InputFolder", OmegaConf.to_object(cfg.input))
    _check(settings)
    _check_calibration(cfg.calibration)
    _check_source(source)
    torch.set_num_threads(settings.threads)
    model = build_each(Kind.MODEL, cfg.model)[only(Kind.MODEL, cfg.model, "edge")].load()
    cut = partition(model, cast("CutSettings", OmegaConf.to_object(cfg.cuts)))
    _log.info("model loaded", model=model.name, note=model.note, cuts=len(cut.legal), nodes=cut.node_count)
    return event_loop.run(_run(cfg, settings, source, model, cut))


async def _run(
    cfg: DictConfig, settings: EngineSettings, source: InputServer | InputFolder, model: LoadedModel, cut: Partition
) -> dict[str, Any] | None:
    # Images are decoded on the loop's own threads; torch's thread count holds on the thread that sets it.
    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(initializer=torch.set_num_threads, initargs=(settings.threads,))
    )
    stop = stop_signals()
    metrics = EdgeMetrics(new_registry())
    codecs = measure_codecs(build_codecs(cfg), cut, model.example)
    engine, planning = _engine(cfg, settings, cut, codecs, metrics)
    try:
        await engine.start()
        if isinstance(source, InputFolder):
            return await _stream(engine, planning, model, source, stop)
        await serve(make_app(engine, model, source, metrics.registry), source, _ready, stop)
        return None
    finally:
        await engine.close()


def _engine(
    cfg: DictConfig, settings: EngineSettings, cut: Partition, codecs: dict[str, Codec], metrics: EdgeMetrics
) -> tuple[EdgeEngine, PlanningLoop]:
    reply_timeout_s = OmegaConf.select(cfg, "transport.timeout_s")  # a stranger's transport may have none

    def policy_for(cuts: tuple[int, ...], names: tuple[str, ...]) -> Policy:
        return build_policy(cfg, placements(cut.table, cuts, {name: codecs[name] for name in names}), reply_timeout_s)

    policy = policy_for(cut.legal, tuple(codecs))
    by_url = per_cloud(cfg)
    hub = TelemetryHub(telemetry_sources(by_url), settings.max_age_s)
    transports = {url: build(Kind.TRANSPORT, one.transport, codecs=codecs) for url, one in by_url.items()}
    clouds = Clouds(transports, settings.retry_after_s, settings.breaker_failures)
    metrics.watch(clouds.states)
    observers = Each(metrics, registry())
    calibration, store = _calibration(cfg, policy, cut.table)
    if calibration is not None:
        metrics.watch_calibration(calibration.state)
    planning = PlanningLoop(policy, hub, settings, observers, clouds, calibration, store)
    parts = EdgeParts(
        partition=cut,
        clouds=clouds,
        executor=build(Kind.EXECUTOR, cfg.executor),
        cost=policy.cost,
        hub=hub,
        planning=planning,
        observers=observers,
        scope=CloudCapabilities(clouds.lister, cut, planning, policy_for, tuple(codecs)),
        calibration=calibration,
        codecs=tuple(codecs),
    )
    return EdgeEngine(parts, settings.threads, settings.deadline_s), planning


def _calibration(
    cfg: DictConfig, policy: Policy, table: CutTable
) -> tuple[Calibration | None, CalibrationStore | None]:
    settings = cast("CalibrationSettings", OmegaConf.to_object(cfg.calibration))
    if not settings.enabled:
        return None, None
    calibration = Calibration(settings)
    if settings.file is None:
        return calibration, None
    predictors = OmegaConf.to_container(cfg.predictor, resolve=True)
    rests_on = {
        "model": f"{table.model} {table.fingerprint}",
        "predictor": json.dumps(predictors, default=str),
        "threads": str(cfg.engine.threads),
    }
    store = CalibrationStore(
        calibration, settings.file, rests_on | {f"{part} seconds": s for part, s in policy.based_on.items()}
    )
    store.load()
    return calibration, store


async def _stream(
    engine: EdgeEngine, planning: PlanningLoop, model: LoadedModel, source: InputFolder, stop: asyncio.Event
) -> dict[str, Any]:
    folder = Path(HydraConfig.get().runtime.output_dir)
    done = await stream(engine, model, source, folder / RESULTS, stop)
    summary = {"model": model.name, **summarise(done), "planning": asdict(planning.counts)}
    if engine.calibration is not None:
        summary["calibration"] = engine.calibration.state()
    (folder / SUMMARY).write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n")
    console = Console()
    console.print(as_table(summary, f"{model.name}, {source.path}"), highlight=False)
    written = [RESULTS, SUMMARY]
    if source.plot and done.records and _draw(folder, model.name):
        written.append(PLOT)
    console.print(f"in {folder}: {', '.join(written)}", highlight=False, soft_wrap=True)
    return summary


def _draw(folder: Path, name: str) -> bool:
    try:
        check_installed("input.plot=true")
    except ConfigError as error:  # the results are worth more than their picture
        _log.warning(f"no {PLOT}", reason=str(error))
        return False
    from midcut.reporting.plots import draw_streams  # noqa: PLC0415 - matplotlib, which a server never needs

    with (folder / RESULTS).open("rb") as lines:
        draw_streams(folder / PLOT, {name: [msgspec.json.decode(line) for line in lines]})
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
