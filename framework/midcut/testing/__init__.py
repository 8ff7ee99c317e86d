"""Contract suites to subclass and fakes to test against, for authors of plugins.

    from midcut.testing import PlannerSuite

    class TestMine(PlannerSuite):
        def make(self):
            return Mine(w=0.5)

pytest then runs every test of the contract on it. midcut's own components pass the same suites.
The suites need pytest, the fakes and `midcut.testing.faults` do not: a suite is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from midcut.testing.executors import TorchExecutor
from midcut.testing.fakes import (
    FixedSeconds,
    LoopbackTransport,
    ScriptedTelemetry,
    chain_placements,
    pair_placements,
    random_forecast,
)

if TYPE_CHECKING:
    from midcut.testing.codecs import CodecSuite
    from midcut.testing.devices import ExecutorSuite, ModelSuite, TelemetrySourceSuite, TransportSuite
    from midcut.testing.numeric import CostModelSuite, LatencyPredictorSuite, ObjectiveSuite, PlannerSuite
    from midcut.testing.tasks import TaskSuite

__all__ = [
    "CodecSuite",
    "CostModelSuite",
    "ExecutorSuite",
    "FixedSeconds",
    "LatencyPredictorSuite",
    "LoopbackTransport",
    "ModelSuite",
    "ObjectiveSuite",
    "PlannerSuite",
    "ScriptedTelemetry",
    "TaskSuite",
    "TelemetrySourceSuite",
    "TorchExecutor",
    "TransportSuite",
    "chain_placements",
    "pair_placements",
    "random_forecast",
]

_SUITES: Final = {
    "CodecSuite": "codecs",
    "ExecutorSuite": "devices",
    "ModelSuite": "devices",
    "TelemetrySourceSuite": "devices",
    "TransportSuite": "devices",
    "TaskSuite": "tasks",
    "CostModelSuite": "numeric",
    "LatencyPredictorSuite": "numeric",
    "ObjectiveSuite": "numeric",
    "PlannerSuite": "numeric",
}


def __getattr__(name: str) -> Any:
    if name not in _SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_SUITES[name]}"), name)
