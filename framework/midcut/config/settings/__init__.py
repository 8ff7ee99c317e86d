"""The typed settings of the core. Plugins define the settings of their components themselves."""

from __future__ import annotations

from typing import Any

from midcut.config.settings.aiming import AimSettings
from midcut.config.settings.cutting import Capture, CutSettings, Order
from midcut.config.settings.edge import (
    CalibrationSettings,
    EdgeServer,
    EngineSettings,
    Fallback,
    InputFolder,
    InputKind,
    InputServer,
    StreamServer,
)
from midcut.config.settings.gaming import GameSettings, Turns
from midcut.config.settings.measuring import ExportConfig, FitConfig, ProfileConfig
from midcut.config.settings.running import CloudConfig, EdgeConfig, PlanConfig
from midcut.config.settings.scheduling import (
    ApplicationSettings,
    HopSettings,
    Method,
    ScheduleConfig,
    TierSettings,
)
from midcut.config.settings.serving import CloudSettings, PriceSettings, RepositorySettings, ServerSettings
from midcut.config.settings.simulating import (
    RANDOM_KINDS,
    Arrivals,
    ClaimSettings,
    Distribution,
    DistributionKind,
    Metric,
    Observed,
    ScenarioDrawn,
    ScenarioKind,
    ScenarioTrace,
    SimulateConfig,
)

# Name of the primary config -> its schema, and the nodes of the core's own config groups.
SCHEMAS: dict[str, type] = {
    "plan": PlanConfig,
    "profile": ProfileConfig,
    "export": ExportConfig,
    "fit": FitConfig,
    "cloud": CloudConfig,
    "edge": EdgeConfig,
    "simulate": SimulateConfig,
    "schedule": ScheduleConfig,
}
NODES: list[tuple[str, str, Any]] = [
    ("schema", "input_server", InputServer),
    ("schema", "input_folder", InputFolder),
    ("schema", "scenario_drawn", ScenarioDrawn),
    ("schema", "scenario_trace", ScenarioTrace),
]

__all__ = [
    "NODES",
    "RANDOM_KINDS",
    "SCHEMAS",
    "AimSettings",
    "ApplicationSettings",
    "Arrivals",
    "CalibrationSettings",
    "Capture",
    "ClaimSettings",
    "CloudConfig",
    "CloudSettings",
    "CutSettings",
    "Distribution",
    "DistributionKind",
    "EdgeConfig",
    "EdgeServer",
    "EngineSettings",
    "ExportConfig",
    "Fallback",
    "FitConfig",
    "GameSettings",
    "HopSettings",
    "InputFolder",
    "InputKind",
    "InputServer",
    "Method",
    "Metric",
    "Observed",
    "Order",
    "PlanConfig",
    "PriceSettings",
    "ProfileConfig",
    "RepositorySettings",
    "ScenarioDrawn",
    "ScenarioKind",
    "ScenarioTrace",
    "ScheduleConfig",
    "ServerSettings",
    "SimulateConfig",
    "StreamServer",
    "TierSettings",
    "Turns",
]
