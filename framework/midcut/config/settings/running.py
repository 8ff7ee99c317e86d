"""Settings of `midcut plan`, `midcut cloud` and `midcut edge`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from midcut.config.settings.aiming import AimSettings
from midcut.config.settings.bounds import check_at_least, check_over_zero, check_share, check_tiers
from midcut.config.settings.cutting import CutSettings
from midcut.config.settings.edge import CalibrationSettings, EngineSettings, StreamServer
from midcut.config.settings.serving import (
    CloudSettings,
    PriceSettings,
    RepositorySettings,
    ServerSettings,
    UpstreamSettings,
)
from midcut.terms import SlowStart


@dataclass
class PlanConfig:
    """Settings of `midcut plan`.

    Attributes:
        model, telemetry, predictor, cost, objective, planner, codec: the chosen components and their settings.
        executor: what `edge_profile=auto` is measured in.
        aim: the two columns of the forecast that planners weigh.
        cuts: which cuts are on offer.
        accuracy_floor: least share of inputs whose predicted class a codec must not change; codecs below it, or with an
            unknown share, are not offered. null offers all.
        edge_profile, cloud_profile: measured seconds, for the predictors that use them: a profile file, a folder of
            profiles, or a shipped device, whose seconds are estimated for models that it has no profile of; `auto` is
            this machine, measured, and what the cloud of `cloud_url` sent an edge here last. The list of cuts is taken
            from the edge profile.
        tiers: 3 plans two cuts, with a relay between edge and cloud; the second link is observed as
            `second_bandwidth_kbps` and `second_ping_ms`.
        relay_profile: measured seconds of the relay.
        cloud_url: the cloud that active telemetry probes measure against.
        wait_s: how long the telemetry sources may take to answer.
        max_age_s: a telemetry value older than this is missing.
        reply_timeout_s: a placement whose link and cloud seconds exceed it is not picked, as the edge, whose transport
            waits no longer, picks none such; null picks among all.
        plot: also draw `plan.png` (needs the extra `report`).
        objectives: names of the result's numbers that a sweeper like Optuna optimises: `[latency_s,cost_usd]`.
        rate_hz: also say what the pick costs in a month at that many requests a second; null does not.
    """

    model: Any = field(default_factory=dict)
    telemetry: Any = field(default_factory=dict)
    predictor: Any = MISSING
    cost: Any = MISSING
    objective: Any = field(default_factory=dict)
    planner: Any = MISSING
    codec: Any = field(default_factory=dict)
    executor: Any = MISSING
    aim: AimSettings = field(default_factory=AimSettings)
    cuts: CutSettings = field(default_factory=CutSettings)
    accuracy_floor: float | None = None
    edge_profile: str = "pi4"
    cloud_profile: str = "cloud"
    relay_profile: str = "cloud"
    tiers: int = 2
    cloud_url: str = "http://127.0.0.1:8700"
    wait_s: float = 10.0
    max_age_s: float = 30.0
    reply_timeout_s: float | None = 10.0
    plot: bool = False
    objectives: list[str] = field(default_factory=list)
    rate_hz: float | None = None

    def __post_init__(self) -> None:
        check_share(self, "accuracy_floor")
        check_at_least(0, self, "wait_s")
        check_over_zero(self, "rate_hz", "max_age_s", "reply_timeout_s")
        check_tiers(self)


@dataclass
class CloudConfig:
    """Settings of `midcut cloud`.

    Attributes:
        model, executor: the models to serve, and what runs their tails.
        codec: the codecs that requests may use; raw bytes and the paper's base64 are always allowed.
        cuts: which cuts are on offer; the edge must use the same capture settings.
        server: where to listen.
        cloud: how tails are computed.
        price: what the cloud asks for its busy seconds, told to edges with its load by `GET /v1/conditions`.
        repository: further weights of the models, loaded and unloaded while the cloud runs.
        upstream_url: where a relay passes requests on whose second cut says so, a URL or a list in order of preference;
            null is a cloud that is no relay.
        upstream: how a relay treats its upstream.
        telemetry, transport: a relay's, for the link to its upstream.
        cloud_url: the upstream, under the name that transport and telemetry know.
    """

    model: Any = field(default_factory=dict)
    executor: Any = MISSING
    codec: Any = field(default_factory=dict)
    cuts: CutSettings = field(default_factory=CutSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    cloud: CloudSettings = field(default_factory=CloudSettings)
    price: PriceSettings = field(default_factory=PriceSettings)
    repository: RepositorySettings = field(default_factory=RepositorySettings)
    upstream_url: Any = None
    upstream: UpstreamSettings = field(default_factory=UpstreamSettings)
    telemetry: Any = field(default_factory=dict)
    transport: Any = MISSING
    cloud_url: Any = "${upstream_url}"


@dataclass
class EdgeConfig:
    """Settings of `midcut edge`.

    Attributes:
        model, telemetry, predictor, cost, objective, planner, codec, transport, executor: chosen components and their
            settings.
        aim: the two columns of the forecast that planners weigh.
        cuts: which cuts are on offer.
        accuracy_floor: least share of inputs whose predicted class a codec must not change; codecs below it, or with an
            unknown share, are not offered. null offers all.
        engine: planning loop and execution.
        calibration: correction of the predictors by measured requests.
        edge_profile, cloud_profile: measured seconds, for the predictors that use them: a profile file, a folder of
            profiles, or a shipped device. `auto` measures this machine when it meets a model first, and takes the
            cloud's own measurement from the cloud, until then an estimate; so does a shipped device with models that
            it has no profile of.
        relay_profile: the same for the middle one of three tiers, where the cloud of `cloud_url` is a relay.
        cloud_url: where the cloud listens; transport and telemetry take it from here. A list is in order of
            preference: requests go to the first healthy cloud.
        slow_start: whether TCP returns to slow start after an idle pause; `auto` reads this host's setting.
            Predictor and telemetry take it from here.
        task: what the model's output means, which decides the answer to an image.
        input: a server, a folder of images, a camera or a video.
        server: the live page, metrics and requests beside a stream.
        output: where results go besides: `output=[mqtt,webhook]`.
    """

    model: Any = field(default_factory=dict)
    telemetry: Any = field(default_factory=dict)
    predictor: Any = MISSING
    cost: Any = MISSING
    objective: Any = field(default_factory=dict)
    planner: Any = MISSING
    codec: Any = field(default_factory=dict)
    transport: Any = MISSING
    executor: Any = MISSING
    task: Any = MISSING
    aim: AimSettings = field(default_factory=AimSettings)
    cuts: CutSettings = field(default_factory=CutSettings)
    accuracy_floor: float | None = None
    engine: EngineSettings = field(default_factory=EngineSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    edge_profile: str = "pi4"
    cloud_profile: str = "cloud"
    relay_profile: str = "auto"
    cloud_url: Any = "http://127.0.0.1:8700"
    slow_start: SlowStart = SlowStart.auto
    input: Any = MISSING
    server: StreamServer = field(default_factory=StreamServer)
    output: Any = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_share(self, "accuracy_floor")
