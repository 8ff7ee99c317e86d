from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
import torch
from PIL import Image

from midcut.config.settings import EngineSettings
from midcut.edge.assembly import connect
from midcut.planning.placements import placements
from midcut.planning.policy import Policy
from midcut.testing import FixedSeconds, LoopbackTransport, ScriptedTelemetry


@pytest.fixture(autouse=True)
def one_thread(single_threaded):
    """The unsplit model is the reference."""


class Priced:
    def cost_usd(self, edge_s, link_s, cloud_s):
        return edge_s + 2.0 * cloud_s + 0.0 * link_s


class Fastest:
    w = 0.25

    def choose(self, forecast, _):
        return np.argmin(forecast.latency_s, axis=-1)


class Silent:
    def decided(self, decision):
        pass

    def inferred(self, result):
        pass


@pytest.fixture
def make_engine(tiny, executor):
    """An engine that stays at cut 4, with a loopback cloud unless another transport is given."""

    def make(transport=None, codecs=("raw",), seen=None):
        parts = (FixedSeconds([0.001, 0.01]), FixedSeconds([0.002, 0.0]), FixedSeconds([0.003, 0.0]))
        return connect(
            tiny,
            EngineSettings(interval_s=5.0, retry_after_s=0.0),
            policy=Policy(placements(tiny.table, (4, 9)), *parts, cost=Priced(), planner=Fastest()),
            sources={"scripted": ScriptedTelemetry([seen or {"ping_ms": 1.0}])},
            transports={"cloud": transport or LoopbackTransport(tiny)},
            executor=executor,
            observers=Silent(),
            codecs=codecs,
        )

    return make


def png(seed, size=(20, 18), **save):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, **{"format": "PNG"} | save)
    return out.getvalue()


@pytest.fixture
def images():
    return png


@pytest.fixture
def expected_class(tiny_model):
    """The class the unsplit model gives to image bytes."""

    def answer(data):
        with torch.inference_mode():
            return int(tiny_model.module(tiny_model.preprocess(Image.open(io.BytesIO(data)))).argmax())

    return answer


@pytest.fixture
def run():
    return asyncio.run
