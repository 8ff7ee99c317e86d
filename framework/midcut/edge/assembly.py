"""Assembling an edge: from its config, or from components that a tool or a test provides."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import structlog
from omegaconf import DictConfig, OmegaConf

from midcut.component import Kind
from midcut.config.build import build, build_each, component_name, settings_of, single_name
from midcut.config.registry import registry
from midcut.config.settings import EdgeConfig
from midcut.config.settings.bounds import count_threads
from midcut.edge.calibration.calibration import Calibration
from midcut.edge.calibration.store import CalibrationStore
from midcut.edge.clouds.adapting import CodecAdapter
from midcut.edge.clouds.capabilities import CloudCapabilities
from midcut.edge.clouds.executors import CloudExecutor
from midcut.edge.clouds.failover import Clouds
from midcut.edge.clouds.profile_fetcher import CloudProfileFetcher
from midcut.edge.engine import EdgeEngine, EdgeParts
from midcut.edge.file_choice import FileChoice, FileSizes
from midcut.edge.frontend.answers import choose_task
from midcut.edge.measured_codecs import measure_codecs, typical_inputs
from midcut.edge.page.live import LiveRecord
from midcut.edge.page.parts import PageParts
from midcut.edge.planning_loop import PlanningLoop
from midcut.edge.profiles import EdgeProfiles, warn_of_other_conditions
from midcut.edge.routes import build_transports, configs_by_url, telemetry_sources
from midcut.edge.steering import Steering
from midcut.edge.telemetry.hub import TelemetryHub
from midcut.exported import ExportedNetwork
from midcut.exported.executor import FLOAT32, ExportedExecutor
from midcut.planning.assembly import build_codecs, build_policy
from midcut.planning.placements import Onward, placements
from midcut.profiles.choosing import fused_executor
from midcut.profiles.clocks import CpuClocks
from midcut.profiles.codings import ProfiledCodec, build_measured_codecs
from midcut.profiles.own import CPUFREQ
from midcut.serving.metrics import EdgeMetrics, new_registry
from midcut.serving.reference_pictures import PictureInputs
from midcut.tensors import set_threads
from midcut.wire.oip import FILE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from midcut.config.settings import EngineSettings
    from midcut.edge.planning_loop import Observers, Planning
    from midcut.graph import Partition
    from midcut.planning.policy import Policy
    from midcut.profiles import Profile
    from midcut.protocols import Codec, Executor, TelemetrySource, Transport
    from midcut.types import CutTable, Decision, InferenceResult, LoadedModel, UpstreamModel

_log = structlog.get_logger("midcut.edge")


@dataclass(frozen=True)
class AssembledEdge:
    """An edge that is ready to be started.

    Attributes:
        page: what the edge's live page shows, and what can be changed there.
    """

    engine: EdgeEngine
    model: LoadedModel
    metrics: EdgeMetrics
    page: PageParts


class CombinedObserver:
    """Several observers as one; they are called in the order given."""

    def __init__(self, *observers: Observers) -> None:
        self._observers = observers

    def decided(self, decision: Decision) -> None:
        for observer in self._observers:
            observer.decided(decision)

    def inferred(self, result: InferenceResult) -> None:
        for observer in self._observers:
            observer.inferred(result)


def assemble(cfg: DictConfig, given: tuple[LoadedModel, Partition] | None = None) -> AssembledEdge:
    """Load the model, cut it, and build every component that the config of `midcut edge` names.

    Args:
        given: a model and its cuts, in place of what the config names.

    Raises:
        ConfigError: a setting out of range, not exactly one model, or no legal cut.
    """
    settings = settings_of(cfg, EdgeConfig)
    configs = configs_by_url(cfg)
    model, partition = given or _load(cfg, settings)
    model = choose_task(cfg, model, partition.table)
    _log.info("model loaded", model=model.name, note=model.note, cuts=len(partition.legal), nodes=partition.node_count)
    threads = settings.engine.thread_count
    executor = _executor(cfg, partition, threads)
    fused = fused_executor(executor, partition)
    profiles = EdgeProfiles(cfg, partition, model, threads, fused)
    profiles.convert(partition, model.example, fused)
    warn_of_other_conditions(profiles.cfg.edge_profile, partition.table.model, threads, fused)
    codecs = _measured_codecs(
        build_measured_codecs(profiles.cfg, partition.table), partition, model, _coding_clock(executor)
    )
    steering = Steering(cfg, partition.legal)  # one planner for all policies, as it may learn

    policy_for = _policy_maker(profiles, partition, codecs, steering)
    policy = policy_for(partition.legal, tuple(codecs))
    metrics, live = EdgeMetrics(new_registry(), model.name), LiveRecord()
    calibration = Calibration(settings.calibration) if settings.calibration.enabled else None
    engine = connect(
        partition,
        settings.engine,
        policy=policy,
        sources=telemetry_sources(configs),
        transports=build_transports(configs, codecs),
        executor=executor,
        observers=CombinedObserver(metrics, live, registry()),
        codecs=tuple(codecs),
        exact_codecs=tuple(name for name, codec in codecs.items() if codec.agreement == 1.0),
        file_sizes=next((codec for codec in codecs.values() if isinstance(codec, FileSizes)), None),
        policy_for=policy_for,
        calibration=calibration,
        store=None if calibration is None else _load_store(cfg, calibration, policy, partition),
        use_profile=profiles.use if profiles.asked_parts else None,
        asked_parts=profiles.asked_parts,
    )
    if engine.parts.capabilities is not None:
        engine.parts.capabilities.on_listing.append(CloudExecutor(model.name, profiles.cloud_executor).see)
    metrics.show_breakers(engine.parts.clouds.states)
    if calibration is not None:
        metrics.show_calibration(calibration.state)
    steering.attach(cast("PlanningLoop", engine.parts.planning))
    return AssembledEdge(engine, model, metrics, PageParts(live, steering))


def _policy_maker(
    profiles: EdgeProfiles, partition: Partition, codecs: Mapping[str, Codec], steering: Steering
) -> Callable[..., Policy]:
    """A function that builds the policy for some cuts, some codecs, and what a relay can pass on."""
    cfg = profiles.cfg
    # A plugin's transport may have neither.
    reply_timeout_s, reply_codec = (OmegaConf.select(cfg, f"transport.{name}") for name in ("timeout_s", "reply_codec"))

    def policy_for(cuts: tuple[int, ...], names: tuple[str, ...], forwarded: UpstreamModel | None = None) -> Policy:
        onward = None
        if forwarded is not None:
            onward = Onward(forwarded.legal, {name: codecs[name] for name in forwarded.codecs}, cfg.accuracy_floor)
        usable = {name: codecs[name] for name in names}
        offered = placements(partition.table, cuts, usable, onward, codecs.get(str(reply_codec)))
        return build_policy(profiles.cfg, offered, reply_timeout_s, steering.planner)

    return policy_for


def _measured_codecs(
    codecs: Mapping[str, Codec], partition: Partition, model: LoadedModel, clock_mhz: Callable[[], float | None]
) -> dict[str, Codec]:
    """The codecs with measured estimates, without `file` where the model's inputs do not come as pictures.

    Args:
        clock_mhz: the clock that coding runs at now; None if unknown.
    """
    unknown = {name: codec for name, codec in codecs.items() if name != FILE and not isinstance(codec, ProfiledCodec)}
    measured = {**codecs, **measure_codecs(unknown, partition, typical_inputs(model), clock_mhz)}
    if measured.pop(FILE, None) is None:
        return measured
    pictures = PictureInputs(model)
    if pictures.digests and 0 in partition.legal:
        return {name: measured.get(name) or FileSizes(codecs[name], pictures, clock_mhz()) for name in codecs}
    _log.warning("codec left out", codec=FILE, reason="the model makes no inputs of a fixed shape from pictures")
    return measured


def _load(cfg: DictConfig, settings: EdgeConfig) -> tuple[LoadedModel, Partition]:
    model = build_each(Kind.MODEL, cfg.model)[single_name(Kind.MODEL, cfg.model, "edge")].load()
    if model.exported is not None:
        network: Any = ExportedNetwork(model.exported, settings.cuts)
        return model, network
    from midcut.graph import partition  # noqa: PLC0415 - torch

    set_threads(settings.engine.thread_count)
    return model, partition(model, settings.cuts)


def assemble_fixed(cfg: DictConfig, partition: Partition, planning: Planning) -> EdgeEngine:
    """Build the engine of a benchmark that supplies the decisions: no telemetry, calibration or metrics.

    Args:
        cfg: the config of `midcut edge`; its predictors, planner and telemetry are ignored.
        partition: the model with its legal cuts.
        planning: gives the placement of each request in place of a planner.
    """
    settings = settings_of(cfg, EdgeConfig).engine
    codecs = build_codecs(cfg)
    parts = EdgeParts(
        partition=partition,
        settings=settings,
        clouds=Clouds(build_transports(configs_by_url(cfg), codecs), settings.retry_after_s, settings.breaker_failures),
        executor=build(Kind.EXECUTOR, cfg.executor),
        cost=build(Kind.COST, cfg.cost),
        hub=TelemetryHub({}, settings.max_age_s),
        planning=planning,
        observers=registry(),
        codecs=tuple(codecs),
    )
    return EdgeEngine(parts)


def connect(
    partition: Partition,
    settings: EngineSettings,
    *,
    policy: Policy,
    sources: Mapping[str, TelemetrySource],
    transports: Mapping[str, Transport],
    executor: Executor,
    observers: Observers,
    codecs: tuple[str, ...] = ("raw",),
    exact_codecs: tuple[str, ...] = ("raw",),
    file_sizes: FileSizes | None = None,
    policy_for: Callable[..., Policy] | None = None,
    calibration: Calibration | None = None,
    store: CalibrationStore | None = None,
    use_profile: Callable[[str, Profile], Awaitable[None]] | None = None,
    asked_parts: frozenset[str] = frozenset({"cloud"}),
) -> EdgeEngine:
    """Build an engine that plans by a policy from ready-made components.

    Args:
        partition: the model with its legal cuts.
        policy: the first policy that planning uses.
        sources: name -> telemetry source, in order of priority.
        transports: URL -> transport, in order of preference.
        codecs: names of the codecs that the edge may use.
        exact_codecs: the codecs among them whose decoded payload equals the original bit for bit.
        file_sizes: the sizes of pictures' files, where these may be sent; needs `policy_for`.
        policy_for: builds the policy for the cuts and codecs that the cloud accepts and, before a relay, for what the
            relay can pass on; None does not ask the cloud.
        calibration: corrects the policy's forecasts; None does not correct them.
        store: saves what calibration has learnt.
        use_profile: makes `policy_for` use a profile of a part that the cloud sent; None does not ask for one.
        asked_parts: the parts whose profiles the cloud is asked for, of `cloud` and `relay`.
    """
    clouds = Clouds(transports, settings.retry_after_s, settings.breaker_failures)
    hub = TelemetryHub(sources, settings.max_age_s)
    planning = PlanningLoop(policy, hub, settings, observers, clouds, calibration, store)
    files = None if file_sizes is None else FileChoice(file_sizes, lambda: planning.policy)
    capabilities = profile_fetcher = None
    if policy_for is not None:
        capabilities = CloudCapabilities(clouds.lister, partition, planning, policy_for, codecs, files)
        clouds.find_mismatch = capabilities.find_mismatch
        digests = {} if file_sizes is None else file_sizes.digests
        clouds.adapter = CodecAdapter(exact_codecs, digests, capabilities.ask_soon)
        if file_sizes is not None:
            file_sizes.on_change.append(capabilities.replan_soon)
        if use_profile is not None:
            profile_fetcher = _profile_fetcher(clouds, partition.table, capabilities, use_profile, asked_parts)
    return EdgeEngine(
        EdgeParts(
            partition=partition,
            settings=settings,
            clouds=clouds,
            executor=executor,
            cost=policy.cost,
            hub=hub,
            planning=planning,
            observers=observers,
            capabilities=capabilities,
            profile_fetcher=profile_fetcher,
            calibration=calibration,
            codecs=codecs,
            exact_codecs=exact_codecs,
            files=files,
            learn=planning.answered,
            policy=lambda: planning.policy,
        )
    )


def _profile_fetcher(
    clouds: Clouds,
    table: CutTable,
    capabilities: CloudCapabilities,
    use_profile: Callable[[str, Profile], Awaitable[None]],
    parts: frozenset[str],
) -> CloudProfileFetcher:
    async def plan_with(part: str, profile: Profile) -> None:
        await use_profile(part, profile)
        await capabilities.replan()

    fetcher = CloudProfileFetcher(clouds, table, plan_with, lambda: capabilities.before_relay, parts)
    capabilities.on_replan.append(fetcher.ask_soon)
    return fetcher


def _executor(cfg: DictConfig, partition: Partition | ExportedNetwork, threads: int) -> Executor:
    if not isinstance(partition, ExportedNetwork):
        executor: Executor = build(Kind.EXECUTOR, cfg.executor)
        return executor
    node, given = cfg.executor, cfg.executor.get("threads")
    chosen = component_name(Kind.EXECUTOR, node)
    accuracy = node.get("accuracy", FLOAT32)
    return ExportedExecutor(
        partition, chosen, threads if given is None else given, str(getattr(accuracy, "value", accuracy))
    )


def _coding_clock(executor: Executor) -> Callable[[], float | None]:
    """A function that returns the clock at which codecs run; None where only the model runs at an emulated clock."""
    emulated = hasattr(executor, "full_speed")
    return (lambda: None) if emulated else CpuClocks(CPUFREQ).current_mhz


def _load_store(
    cfg: DictConfig, calibration: Calibration, policy: Policy, partition: Partition
) -> CalibrationStore | None:
    """Load the calibration from its file; None if no file is configured."""
    if cfg.calibration.file is None:
        return None
    predictors = OmegaConf.to_container(cfg.predictor, resolve=True)
    rests_on = {
        "model": f"{partition.table.model} {partition.table.fingerprint}",
        "predictor": json.dumps(predictors, default=str),
        "threads": str(count_threads("engine.threads", cfg.engine.threads)),
    }
    store = CalibrationStore(calibration, cfg.calibration.file, rests_on, policy.based_on)
    store.load()
    return store
