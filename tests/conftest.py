from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import threading
from contextlib import contextmanager
from time import perf_counter

import hypothesis
import pytest
import structlog

from midcut.testing import TorchExecutor

# Examples may take long where the machine is busy; fixtures that examples share are only asked or read.
hypothesis.settings.register_profile(
    "midcut",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("midcut")

# A shell that starts the tests in the background has Ctrl-C ignored in them, and in all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch is imported, for the processes that tests start too: the nets are small, and threads that wait for one
# another on busy cores take five times as long. Tests of threads set their number themselves.
os.environ["OMP_NUM_THREADS"] = "1"

# Profiles that edges and clouds measure by themselves stay out of the user's own cache. Set here, because tests copy
# the environment when they are imported.
_cache = tempfile.TemporaryDirectory(prefix="midcut-cache-")
os.environ["MIDCUT_CACHE"] = _cache.name

# A run that a script starts in the background ignores Ctrl-C, and so would every process that a test sends it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _fresh_logging():
    """A test that configures structlog does so for itself only."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def single_threaded():
    """torch on one thread, as an engine computes: the bits of the unsplit model depend on how many there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class PlainExecutor(TorchExecutor):
    def run(self, segment):
        import torch

        started = perf_counter()
        with torch.inference_mode():
            values = segment()
        return values, perf_counter() - started

    def close(self):
        pass


def _preprocess(image):
    import torch

    pixels = torch.frombuffer(bytearray(image.convert("RGB").resize((16, 16)).tobytes()), dtype=torch.uint8)
    return (pixels.reshape(1, 16, 16, 3).permute(0, 3, 1, 2).float() / 255).contiguous()


@pytest.fixture(scope="session")
def tiny_model():
    """A few milliseconds of everything that crosses cuts: a branch, in-place operations, a permuted payload."""
    import torch
    from torch import nn

    from midcut.types import LoadedModel

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.relu = nn.ReLU(inplace=True)
            self.left = nn.Conv2d(8, 8, 3, padding=1)
            self.right = nn.Conv2d(8, 8, 1)
            self.head = nn.Linear(8, 10)

        def forward(self, x):
            x = self.relu(self.first(x))
            x = self.left(x) + self.right(x)
            x = self.relu(x).permute(0, 2, 3, 1)
            return self.head(x.mean(dim=(1, 2)))

    torch.manual_seed(3)
    labels = [f"label {index}" for index in range(10)]
    return LoadedModel("tiny", Tiny().eval(), (torch.randn(1, 3, 16, 16),), _preprocess, labels, "random, seeded")


@pytest.fixture(scope="session")
def tiny(tiny_model):
    """The tiny model, cut: a `Partition` with cuts 0 to 9, all legal."""
    from midcut.config.settings import CutSettings
    from midcut.graph import partition

    return partition(tiny_model, CutSettings())


@pytest.fixture(scope="session")
def three_tiers():
    """Makes a policy over pairs of cuts, from the seconds of tails from each cut on: at the edge, relay and cloud."""
    import numpy as np

    from midcut.planning.policy import Policy
    from midcut.planning.tiers import MiddlePredictor, SecondLinkPredictor
    from midcut.testing import FixedSeconds

    class PayloadOverBandwidth:
        needs = frozenset({"bandwidth_kbps", "ping_ms"})

        def __init__(self, placements):
            self._kbit = np.where(placements.on_edge, 0.0, placements.payload_bytes) * 8e-3

        def seconds(self, observation):
            return self._kbit / observation.bandwidth_kbps + 0.0 * observation.ping_ms

    def make(placements, edge_s, relay_s, cloud_s, cost, planner=None):
        first, second = placements.cut, placements.onward.cut
        relay = (FixedSeconds(np.array(relay_s)[cut]) for cut in (first, second))
        second_link = SecondLinkPredictor(PayloadOverBandwidth(placements.onward), placements.onward)
        edge, cloud = FixedSeconds(np.array(edge_s)[first]), FixedSeconds(np.array(cloud_s)[second])
        between = {"relay": MiddlePredictor(*relay), "second_link": second_link}
        return Policy(placements, edge, PayloadOverBandwidth(placements), cloud, cost, between=between, planner=planner)

    return make


@pytest.fixture
def held_cloud(tiny):
    """A transport whose cloud waits until `go_on` is set; `asked` is what came, and `reached` is released for each."""
    from midcut.testing import LoopbackTransport

    class FixedPlan(LoopbackTransport):
        def __init__(self):
            super().__init__(tiny)
            self.asked, self.reached, self.go_on = [], asyncio.Semaphore(0), asyncio.Event()

        async def infer(self, request):
            self.asked.append(request)
            self.reached.release()
            await self.go_on.wait()
            return await super().infer(request)

    return FixedPlan()


@pytest.fixture
def executor():
    return PlainExecutor()


@contextmanager
def _on_a_thread(serve, run=None):
    """A server on a thread and a loop of its own; gives what it calls `ready` with.

    Args:
        serve: a coroutine function, called with `ready` and with an event that is set at the end.
        run: runs its coroutine, as `asyncio.run` does; None for the loop of midcut's programs.
    """
    from midcut.serving import event_loop

    bound, kept = threading.Event(), {}

    def ready(address):
        kept["address"] = address
        bound.set()

    async def go():
        kept["loop"], kept["stop"] = asyncio.get_running_loop(), asyncio.Event()
        await serve(ready, kept["stop"])

    thread = threading.Thread(target=lambda: (run or event_loop.run)(go()))
    thread.start()
    assert bound.wait(120)
    try:
        yield kept["address"]
    finally:
        kept["loop"].call_soon_threadsafe(kept["stop"].set)
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def on_a_thread():
    return _on_a_thread


def _running(hosted, executor, cloud_settings, **settings):
    """A cloud on a thread and a loop of its own."""
    from midcut import cloud
    from midcut.config.settings import ServerSettings
    from midcut.graph.segments import Segments
    from midcut.serving import serve
    from midcut.serving.threads import Threads

    async def go(ready, stop):
        server = ServerSettings(**{"port": 0} | settings)
        with Threads(cloud_settings.workers, "tail") as pool:
            segments = Segments(executor)
            await serve(cloud.make_app(hosted, segments, pool, server, cloud_settings), server, ready, stop)
            segments.close()

    return _on_a_thread(go)


@pytest.fixture(scope="session")
def running_cloud(tiny):
    """Starts clouds: `with running_cloud() as url`, with the tiny model unless others are given."""
    from midcut import cloud
    from midcut.config.settings import CloudSettings

    def start(*partitions, executor=None, max_batch=1, codecs=None, cloud_settings=None, models=None, **settings):
        named = {one.table.model: one for one in partitions or (tiny,)}
        cloud_settings = CloudSettings(**{"workers": 2} | (cloud_settings or {}))
        hosted = cloud.HostedModels(named, max_batch, codecs, models, int(cloud_settings.max_picture_mb * 1e6))
        if cloud_settings.batch_requests > 1:
            hosted.learn_to_batch()
        return _running(hosted, executor or PlainExecutor(), cloud_settings, **settings)

    return start


@pytest.fixture(scope="session")
def cloud_url(running_cloud):
    """One cloud for all tests that only ask it things."""
    with running_cloud(body_timeout_s=2.0, idle_timeout_s=2.0) as url:
        yield url


@pytest.fixture
def profile_of():
    """Makes a profile of a chain of two nodes: seconds per node by clock."""
    return make_profile


def make_profile(seconds, *, whole_s=None, role="edge", model="two"):
    from midcut.profiles import Machine, Profile, Role, Run
    from midcut.types import Cut, CutTable, Node, ValueSpec

    nodes = tuple(Node(f"node{index}", "Conv2d", f"layer{index}") for index in range(2))
    cuts = tuple(Cut(index, index, index > 0, (ValueSpec("x", "float32", (1, 100)),)) for index in range(3))
    runs = tuple(
        Run(clock, tuple(node_s), (0.0,) * len(node_s), whole_s or sum(node_s), 0.0, 5)
        for clock, node_s in sorted(seconds.items(), key=lambda item: item[0] or 0.0)
    )
    return Profile(
        model=model,
        role=Role(role),
        table=CutTable(model, "fx", nodes, cuts, "graph", "weights"),
        machine=Machine(name="board", processor="core", cores=2, system="Linux"),
        versions={"torch": "2"},
        threads=1,
        batch=1,
        modelled=False,
        origin="test",
        runs=runs,
    )
