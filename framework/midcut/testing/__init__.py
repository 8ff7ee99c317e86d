"""For authors of plugins: contract suites to subclass, and fakes to test against.

    from midcut.testing import PlannerSuite

    class TestMine(PlannerSuite):
        def make(self):
            return Mine(w=0.5)

pytest then runs every test of the contract on it. midcut's own components pass the same suites.
The suites need pytest; the fakes do not.
"""

from midcut.testing.codecs import CodecSuite
from midcut.testing.devices import ExecutorSuite, ModelSuite, TelemetrySourceSuite, TransportSuite
from midcut.testing.fakes import LoopbackTransport, ScriptedTelemetry, chain_placements, random_forecast
from midcut.testing.numeric import CostModelSuite, LatencyPredictorSuite, PlannerSuite

__all__ = [
    "CodecSuite",
    "CostModelSuite",
    "ExecutorSuite",
    "LatencyPredictorSuite",
    "LoopbackTransport",
    "ModelSuite",
    "PlannerSuite",
    "ScriptedTelemetry",
    "TelemetrySourceSuite",
    "TransportSuite",
    "chain_placements",
    "random_forecast",
]
