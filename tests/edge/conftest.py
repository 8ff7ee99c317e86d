from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest

from midcut.config.settings import EngineSettings
from midcut.edge.assembly import connect
from midcut.planning.placements import placements
from midcut.planning.policy import Policy
from midcut.testing import LoopbackTransport, ScriptedTelemetry


@pytest.fixture(autouse=True)
def one_thread(single_threaded):
    """The unsplit model is the reference."""


class Rate:
    """Seconds that go with one field of the observation: `scale` per value, times a weight per placement."""

    def __init__(self, needs, weights):
        self.needs = frozenset(needs)
        self._weights = np.asarray(weights, dtype=np.float64)

    def seconds(self, observation):
        factor = 1.0
        for name in self.needs:
            factor = factor * 1000.0 / np.asarray(getattr(observation, name), dtype=np.float64)[..., None]
        return self._weights * factor


class Priced:
    """One dollar an edge second, two a cloud second."""

    def cost_usd(self, edge_s, link_s, cloud_s):
        return edge_s + 2.0 * cloud_s + 0.0 * link_s


class Fastest:
    w = 0.0

    def choose(self, forecast, w):  # noqa: ARG002
        return np.argmin(forecast.latency_s, axis=-1)


class Watch:
    """Observers that remember."""

    def __init__(self):
        self.decisions, self.results = [], []

    def decided(self, decision):
        self.decisions.append(decision)

    def inferred(self, result):
        self.results.append(result)


class Bench:
    """An engine and everything around it. A fast link puts the cut at 0, a slow one at the last cut."""

    def __init__(
        self,
        tiny,
        executor,
        script=None,
        legal=None,
        transport=None,
        more_clouds=None,
        scoped=False,
        calibration=None,
        **given,
    ):
        legal = legal or tiny.legal
        self._table = tiny.table
        # Slow enough that the first decision is made before the second read.
        self.telemetry = ScriptedTelemetry(script or [{"bandwidth_kbps": 1e6, "clock_mhz": 1000.0}], interval_s=0.05)
        self.settings = EngineSettings(**{"interval_s": 0.02, "retry_after_s": 0.0, "breaker_failures": 1} | given)
        self.watch = Watch()
        self.transport = transport or LoopbackTransport(tiny)
        self.policy = self.policy_for(legal)
        self.engine = connect(
            tiny,
            self.settings,
            policy=self.policy,
            sources={"scripted": self.telemetry},
            transports={"cloud": self.transport} | dict(more_clouds or {}),
            executor=executor,
            observers=self.watch,
            policy_for=self.policy_for if scoped else None,
            calibration=calibration,
        )
        parts = self.engine.parts
        self.clouds, self.hub, self.planning = parts.clouds, parts.hub, parts.planning

    def policy_for(self, cuts, _codecs=("raw",)):
        laid_out = placements(self._table, cuts)
        return Policy(
            laid_out,
            edge=Rate({"clock_mhz"}, np.arange(len(cuts), dtype=np.float64) * 0.01),
            link=Rate({"bandwidth_kbps"}, np.where(laid_out.on_edge, 0.0, 1.0)),
            cloud=Rate((), np.zeros(len(cuts))),
            cost=Priced(),
            planner=Fastest(),
        )

    async def until(self, condition, seconds=60.0):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@pytest.fixture
def bench(tiny, executor):
    """`async with bench(...) as b`: a started engine."""

    @asynccontextmanager
    async def start(*, executor=executor, partition=tiny, **given):
        made = Bench(partition, executor, **given)
        await made.engine.start()
        try:
            yield made
        finally:
            await made.engine.close()

    return start
