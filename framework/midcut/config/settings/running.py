"""What plans and runs: `midcut plan`, `midcut cloud`, `midcut edge`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from midcut.config.settings.bounds import check_share
from midcut.config.settings.cutting import CutSettings
from midcut.config.settings.edge import CalibrationSettings, EngineSettings
from midcut.config.settings.serving import CloudSettings, ServerSettings
from midcut.terms import SlowStart


@dataclass
class PlanConfig:
    """`midcut plan`.

    Attributes:
        model, telemetry, predictor, cost, planner, codec: the chosen components and their knobs.
        cuts: which cuts are on offer.
        accuracy_floor: share of inputs whose class must stay what it was: codecs of less agreement, or an unknown one,
            are left out; null leaves out none.
        edge_profile, cloud_profile: measured seconds, for the predictors that use them: a profile file, a folder of
            profiles, or a shipped device. The model's cut list is the edge profile's.
        cloud_url: the cloud that probing telemetry sources reach.
        wait_s: how long the telemetry sources may take to answer.
        max_age_s: a telemetry value older than this is missing.
        plot: also draw `plan.png` (needs the extra `report`).
        objectives: numbers of the result, by name, that a sweeper like Optuna searches by: `[latency_s,cost_usd]`.
    """

    model: Any = field(default_factory=dict)
    telemetry: Any = field(default_factory=dict)
    predictor: Any = MISSING
    cost: Any = MISSING
    planner: Any = MISSING
    codec: Any = field(default_factory=dict)
    cuts: CutSettings = field(default_factory=CutSettings)
    accuracy_floor: float | None = None
    edge_profile: str = "pi4"
    cloud_profile: str = "cloud"
    cloud_url: str = "http://127.0.0.1:8700"
    wait_s: float = 10.0
    max_age_s: float = 30.0
    plot: bool = False
    objectives: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_share(self, "accuracy_floor")


@dataclass
class CloudConfig:
    """`midcut cloud`.

    Attributes:
        model, executor: the models to serve, and what runs their tails.
        codec: the codecs that requests may use; bare bytes and the paper's base64 they always may.
        cuts: which cuts are on offer; the edge must capture likewise.
        server: where to listen.
        cloud: how tails are computed.
    """

    model: Any = field(default_factory=dict)
    executor: Any = MISSING
    codec: Any = field(default_factory=dict)
    cuts: CutSettings = field(default_factory=CutSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    cloud: CloudSettings = field(default_factory=CloudSettings)


@dataclass
class EdgeConfig:
    """`midcut edge`.

    Attributes:
        model, telemetry, predictor, cost, planner, codec, transport, executor: the chosen components and their knobs.
        cuts: which cuts are on offer.
        accuracy_floor: share of inputs whose class must stay what it was: codecs of less agreement, or an unknown one,
            are left out; null leaves out none.
        engine: planning loop and execution.
        calibration: correcting the predictors by what requests take.
        edge_profile, cloud_profile: measured seconds, for the predictors that use them: a profile file, a folder of
            profiles, or a shipped device.
        cloud_url: where the cloud listens; transport and telemetry take it from here. A list is in order of
            preference: requests go to the first cloud that is well.
        slow_start: whether TCP starts slowly after a pause; `auto` asks this host. Predictor and telemetry take it
            from here.
        input: a server, or a folder of images.
    """

    model: Any = field(default_factory=dict)
    telemetry: Any = field(default_factory=dict)
    predictor: Any = MISSING
    cost: Any = MISSING
    planner: Any = MISSING
    codec: Any = field(default_factory=dict)
    transport: Any = MISSING
    executor: Any = MISSING
    cuts: CutSettings = field(default_factory=CutSettings)
    accuracy_floor: float | None = None
    engine: EngineSettings = field(default_factory=EngineSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    edge_profile: str = "pi4"
    cloud_profile: str = "cloud"
    cloud_url: Any = "http://127.0.0.1:8700"
    slow_start: SlowStart = SlowStart.auto
    input: Any = MISSING

    def __post_init__(self) -> None:
        check_share(self, "accuracy_floor")
