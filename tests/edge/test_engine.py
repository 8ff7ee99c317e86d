from __future__ import annotations

import asyncio
import threading
import time

import pytest
import torch
from msgspec.structs import replace

from midcut.config.settings import CutSettings, EngineSettings
from midcut.errors import CloudRefusedError, CloudTimeoutError, ConfigError, CutError, ExecutorError, MalformedError
from midcut.graph import partition
from midcut.testing import LoopbackTransport, TorchExecutor
from midcut.types import LoadedModel, TailReply, TailRequest, TierTimes
from midcut_transports.http import HttpTransport

FAST = {"bandwidth_kbps": 1e6, "clock_mhz": 1000.0}  # cut 0
MIDDLE = (4, 9)  # legal cuts that leave 4 on a fast link
ALWAYS = (4,)  # planning cannot go to the edge alone


class Answering(LoopbackTransport):
    """A cloud that answers what it is told to, or raises it."""

    def __init__(self, partition, answer):
        super().__init__(partition)
        self.answer = answer
        self.asked = 0

    async def infer(self, request):
        self.asked += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is not None:
            return TailReply(self.answer, 0.0, 0.0, 10, 10, 0.0)
        return await super().infer(request)


def whole(tiny_model, *inputs):
    with torch.inference_mode():
        return tiny_model.module(*(inputs or tiny_model.example))


async def test_the_cloud_finishes_with_the_bits_of_the_unsplit_model(bench, tiny_model):
    async with bench(legal=MIDDLE) as b:
        result = await b.engine.infer(tiny_model.example, "mine")
    assert torch.equal(result.output, whole(tiny_model))
    assert (result.request_id, result.cut, result.finished_by, result.fallback) == ("mine", 4, "cloud", "")
    assert b.transport.requests[0].cut == 4
    assert b.transport.requests[0].fingerprint == b.engine.partition.table.fingerprint
    assert b.watch.results == [result]


async def test_times_add_up_and_are_priced(bench, tiny_model):
    async with bench(legal=MIDDLE) as b:
        result = await b.engine.infer(tiny_model.example)
    assert result.edge_s > 0.0
    assert result.cloud_s > 0.0
    # Sending, and what the request waited for the compute thread, which is in the whole only.
    assert result.link_s > 0.0
    assert result.edge_s + result.link_s + result.cloud_s <= result.latency_s
    assert result.cost_usd == pytest.approx(result.edge_s + 2.0 * result.cloud_s)
    # Two 8 x 16 x 16 float32 cross cut 4.
    assert result.sent_bytes == 2 * 8 * 16 * 16 * 4
    assert result.predicted["cut"] == 4
    assert result.predicted["link_s"] == pytest.approx(0.001)


async def test_the_last_cut_sends_nothing_and_has_no_link(bench, tiny_model):
    async with bench(legal=(9,)) as b:
        result = await b.engine.infer(tiny_model.example)
    assert torch.equal(result.output, whole(tiny_model))
    assert (result.cut, result.finished_by, result.fallback, result.sent_bytes) == (9, "edge", "", 0)
    assert (result.link_s, result.cloud_s) == (0.0, 0.0)
    assert b.transport.requests == []


@pytest.mark.parametrize("cut", range(9))
async def test_when_the_cloud_fails_the_edge_finishes_from_any_cut(bench, tiny, tiny_model, cut):
    transport = Answering(tiny, CloudTimeoutError("no answer in 1 s"))
    async with bench(legal=(cut, 9), transport=transport) as b:
        result = await b.engine.infer(tiny_model.example)
    assert torch.equal(result.output, whole(tiny_model))
    assert (result.cut, result.finished_by, result.fallback) == (cut, "edge", "no answer in 1 s")
    assert result.cloud_s == 0.0
    assert result.edge_s > 0.0


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ([], "takes 1 values, got 0"),
        ([torch.zeros(1, 10), torch.zeros(1, 10)], "takes 1 values, got 2"),
        ([torch.zeros(1, 9)], "expected"),
        ([torch.zeros(10)], "dimensions"),
        ([torch.zeros(2, 10)], "[(2, 10)], expected are [(1, 10)]"),
        ([torch.zeros(1, 10, dtype=torch.float64)], "must be float32"),
        ([5], "must be a float32 tensor"),
        (RuntimeError("a bug in a stranger's transport"), "RuntimeError: a bug in a stranger's transport"),
        (CloudRefusedError("the cloud says 409: other weights"), "the cloud says 409: other weights"),
    ],
)
async def test_a_reply_that_does_not_fit_is_never_an_answer(bench, tiny, tiny_model, answer, part):
    async with bench(legal=MIDDLE, transport=Answering(tiny, answer)) as b:
        result = await b.engine.infer(tiny_model.example)
    assert torch.equal(result.output, whole(tiny_model))
    assert result.finished_by == "edge"
    assert part in result.fallback


@pytest.mark.parametrize("seconds", [60.0, 1.7e308, float("inf"), float("nan"), -1e-3])
@pytest.mark.parametrize("name", ["compute_s", "server_s"])
async def test_seconds_that_cannot_be_are_not_believed(bench, tiny, tiny_model, name, seconds):
    class Lying(LoopbackTransport):
        async def infer(self, request):
            return replace(await super().infer(request), **{name: seconds})

    async with bench(legal=MIDDLE, transport=Lying(tiny)) as b:
        result = await b.engine.infer(tiny_model.example)
    assert torch.equal(result.output, whole(tiny_model))
    assert (result.finished_by, result.cloud_s) == ("edge", 0.0)
    assert "of an exchange that took" in result.fallback
    assert result.cost_usd == pytest.approx(result.edge_s)


@pytest.mark.parametrize(("bytes_", "finisher"), [(2000, "cloud"), (10**15, "edge")])
async def test_bytes_behind_a_relay_that_cannot_be_are_not_believed(bench, tiny, tiny_model, bytes_, finisher):
    class Relaying(LoopbackTransport):
        async def infer(self, request):
            return replace(await super().infer(request), beyond=(TierTimes(0.0, 0.0, bytes_, 100),))

    async with bench(legal=MIDDLE, transport=Relaying(tiny)) as b:
        result = await b.engine.infer(tiny_model.example)
    assert torch.equal(result.output, whole(tiny_model))
    assert result.finished_by == finisher


class Miscomputing(LoopbackTransport):
    """A cloud whose memory is bad: its answers are finite, of the right shape, and wrong."""

    async def infer(self, request):
        reply = await super().infer(request)
        return replace(reply, values=[reply.values[0].roll(1, -1)])


@pytest.mark.parametrize("retry_after_s", [0.0, 1.0])
async def test_a_cloud_that_computes_wrongly_is_found_and_left_alone(bench, tiny, tiny_model, retry_after_s):
    transport = Miscomputing(tiny)
    async with bench(legal=ALWAYS, transport=transport, recheck="1/3", retry_after_s=retry_after_s) as b:
        results = [await b.engine.infer(tiny_model.example) for _ in range(6)]
    assert [result.finished_by for result in results] == ["cloud", "cloud", "edge", "edge", "edge", "edge"]
    assert torch.equal(results[2].output, whole(tiny_model))
    assert "computed another answer" in results[2].fallback
    assert len(transport.requests) == 3


async def test_a_cloud_that_computes_rightly_is_not_suspected(bench, tiny_model):
    async with bench(legal=ALWAYS, recheck="1") as b:
        results = [await b.engine.infer(tiny_model.example) for _ in range(5)]
    assert {result.finished_by for result in results} == {"cloud"}


@pytest.mark.parametrize("cloud", [LoopbackTransport, Miscomputing])
async def test_computing_an_answer_again_is_no_time_of_the_link(bench, tiny, tiny_model, monkeypatch, cloud):
    now_s = 0.0

    class Distant(cloud):
        async def infer(self, request):
            nonlocal now_s
            now_s += 0.05
            return replace(await super().infer(request), compute_s=0.01, server_s=0.01, wall_s=0.05)

    class Slow(TorchExecutor):
        def run(self, segment):
            nonlocal now_s
            now_s += 7.0
            with torch.inference_mode():
                return segment(), 7.0

        def close(self): ...

    monkeypatch.setattr("midcut.edge.tails.perf_counter", lambda: now_s)
    async with bench(legal=ALWAYS, transport=Distant(tiny), executor=Slow(), recheck="1") as b:
        result = await b.engine.infer(tiny_model.example)
    assert result.finished_by == ("cloud" if cloud is LoopbackTransport else "edge")
    assert result.link_s == pytest.approx(0.04 if cloud is LoopbackTransport else 0.05)


@pytest.mark.parametrize("share", ["1/0", "-1/2", "2", "often", "nan"])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ConfigError, match=r"engine\.recheck must be a share from 0 to 1, like 1/100"):
        EngineSettings(recheck=share)


async def test_a_dead_cloud_is_left_alone_for_a_while(bench, tiny, tiny_model):
    transport = Answering(tiny, CloudTimeoutError("no answer"))
    async with bench(legal=ALWAYS, transport=transport, retry_after_s=60.0) as b:
        results = [await b.engine.infer(tiny_model.example) for _ in range(5)]
    assert transport.asked == 1
    assert results[0].fallback == "no answer"
    assert all("next try in" in result.fallback for result in results[1:])
    assert all(torch.equal(result.output, whole(tiny_model)) for result in results)


async def test_a_cloud_that_is_back_is_used_again(bench, tiny, tiny_model):
    transport = Answering(tiny, CloudTimeoutError("no answer"))
    async with bench(legal=ALWAYS, transport=transport, retry_after_s=0.05) as b:
        assert (await b.engine.infer(tiny_model.example)).finished_by == "edge"
        transport.answer = None
        await asyncio.sleep(0.06)
        assert (await b.engine.infer(tiny_model.example)).finished_by == "cloud"


async def test_a_request_in_flight_finishes_on_its_cut_while_the_decision_moves(bench, tiny, tiny_model):
    class Slow(LoopbackTransport):
        def __init__(self, partition):
            super().__init__(partition)
            self.under_way, self.go_on = asyncio.Event(), asyncio.Event()

        async def infer(self, request):
            self.under_way.set()
            await self.go_on.wait()
            return await super().infer(request)

    transport = Slow(tiny)
    async with bench(transport=transport) as b:
        first = asyncio.create_task(b.engine.infer(tiny_model.example))
        await transport.under_way.wait()
        b.telemetry._script = [{"bandwidth_kbps": 1.0, "clock_mhz": 1000.0}]
        await b.until(lambda: b.engine.decision.placement.cut == 9)
        second = await b.engine.infer(tiny_model.example)
        transport.go_on.set()
        result = await first
    assert (result.cut, result.finished_by, second.cut, second.finished_by) == (0, "cloud", 9, "edge")
    assert torch.equal(result.output, second.output)


async def test_many_requests_at_once_do_not_mix(bench, tiny_model):
    inputs = [torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(n)) for n in range(20)]
    async with bench(legal=MIDDLE) as b:
        results = await asyncio.gather(*(b.engine.infer([one]) for one in inputs))
    for one, result in zip(inputs, results, strict=True):
        assert torch.equal(result.output, whole(tiny_model, one))
    assert len({result.request_id for result in results}) == 20


async def test_a_batch_goes_through_split(bench, tiny_model):
    batch = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    async with bench(legal=MIDDLE) as b:
        result = await b.engine.infer([batch])
    assert result.finished_by == "cloud"
    assert torch.equal(result.output, whole(tiny_model, batch))


@pytest.mark.parametrize(
    ("inputs", "part"),
    [
        ([], "takes 1 values, got 0"),
        ([torch.zeros(1, 1, 16, 16)], "expected [B, 3, 16, 16]"),
        ([torch.zeros(1, 3, 16, 16, dtype=torch.uint8)], "must be float32"),
    ],
)
async def test_inputs_that_do_not_fit_the_model_are_refused(bench, inputs, part):
    async with bench() as b:
        with pytest.raises(MalformedError) as caught:
            await b.engine.infer(inputs)
    assert part in str(caught.value)


async def test_a_transfer_is_told_to_the_telemetry(bench, tiny_model):
    heard = []
    async with bench(legal=MIDDLE) as b:
        b.hub.transferred = heard.append
        result = await b.engine.infer(tiny_model.example)
        b.transport.up = False
        await b.engine.infer(tiny_model.example)
    (transfer,) = heard
    assert transfer.sent_bytes == result.sent_bytes
    assert transfer.wall_s >= transfer.server_s > 0.0


async def test_the_payload_is_not_written_to(bench, tiny, tiny_model):
    # Cut 1 sends what an in-place ReLU works on next.
    async with bench(legal=(1, 9)) as b:
        await b.engine.infer(tiny_model.example)
        with torch.inference_mode():
            assert torch.equal(b.transport.requests[0].values[0], tiny.head(1, tiny_model.example)[0])


async def test_the_configured_threads_hold_where_the_model_is_computed_from_the_warm_up_on(bench, tiny, monkeypatch):
    seen = []

    def note(what):
        seen.append((what, threading.current_thread().name, torch.get_num_threads()))

    class Noting(TorchExecutor):
        def run(self, segment):
            note("segment")
            return segment(), 0.0

        def close(self):
            pass

    monkeypatch.setattr(tiny, "warm_up", lambda run=None: run([torch.zeros(1, 3, 16, 16)]) if run else note("warm-up"))
    before = torch.get_num_threads()
    async with bench(executor=Noting(), legal=(9,), threads=before + 1) as b:
        await b.engine.infer([torch.zeros(1, 3, 16, 16)])
    # Warmed up in PyTorch, then measured by the executor; then the request.
    assert [what for what, *_ in seen] == ["warm-up", "segment", "segment"]
    assert {(name, threads) for _, name, threads in seen} == {("compute_0", before + 1)}


@pytest.mark.parametrize("status", [400, 413, 415])
async def test_a_request_the_cloud_refuses_for_itself_costs_the_others_nothing(bench, tiny, tiny_model, status):
    transport = Answering(tiny, CloudRefusedError(f"the cloud says {status}", http_status=status))
    async with bench(legal=MIDDLE, transport=transport, retry_after_s=60.0) as b:
        refused = await b.engine.infer(tiny_model.example)
        transport.answer = None
        assert (await b.engine.infer(tiny_model.example)).finished_by == "cloud"
    assert (refused.finished_by, refused.fallback) == ("edge", f"the cloud says {status}")
    assert torch.equal(refused.output, whole(tiny_model))


@pytest.mark.parametrize("status", [0, 404, 409, 500, 503])
async def test_a_cloud_that_refuses_all_alike_is_left_alone(bench, tiny, tiny_model, status):
    transport = Answering(tiny, CloudRefusedError("no", http_status=status))
    async with bench(legal=ALWAYS, transport=transport, retry_after_s=60.0) as b:
        await b.engine.infer(tiny_model.example)
        assert "next try in" in (await b.engine.infer(tiny_model.example)).fallback
    assert transport.asked == 1


async def test_waiting_for_the_compute_thread_is_in_the_whole_only(bench, tiny_model):
    class Slow(TorchExecutor):
        def run(self, segment):
            time.sleep(0.05)
            return segment(), 0.05

        def close(self):
            pass

    async with bench(executor=Slow(), legal=MIDDLE) as b:
        results = await asyncio.gather(*(b.engine.infer(tiny_model.example) for _ in range(3)))
    last = max(results, key=lambda result: result.latency_s)
    # Two other heads of 50 ms each went first.
    assert last.latency_s - (last.edge_s + last.link_s + last.cloud_s) >= 0.1


@pytest.mark.parametrize("refused", [True, False])
async def test_a_cut_without_the_bits_that_the_executor_promises_runs_as_the_whole_model_here(
    bench, tiny_model, refused
):
    class Exact(TorchExecutor):
        exact = True
        made = False

        def ready(self, network, start, stop):
            return (start, stop) in ((0, network.table.last), (4, network.table.last)) or self.made

        def prepare(self, network, start, stop):
            if (start, stop) == (0, 4):
                if refused:
                    raise ExecutorError("other bits")
                self.made = True
            return super().prepare(network, start, stop)

    async with bench(executor=Exact(), legal=(4,)) as b:
        first = await b.engine.infer(tiny_model.example)
        later = await b.engine.infer(tiny_model.example)
        async with asyncio.timeout(60.0):
            while later.cut == 9 and not refused:
                later = await b.engine.infer(tiny_model.example)
    assert first.cut == 9 or not refused
    assert (later.cut, later.finished_by) == ((9, "edge") if refused else (4, "cloud"))
    assert torch.equal(later.output, whole(tiny_model))


async def test_a_failed_try_is_the_links_time_and_during_back_off_there_is_none(bench, tiny, tiny_model):
    class Late(LoopbackTransport):
        async def infer(self, request):  # noqa: ARG002
            await asyncio.sleep(0.05)
            raise CloudTimeoutError("no answer")

    async with bench(legal=ALWAYS, transport=Late(tiny), retry_after_s=60.0) as b:
        tried, spared = [await b.engine.infer(tiny_model.example) for _ in range(2)]
    assert tried.link_s >= 0.049
    assert tried.link_s <= tried.latency_s - tried.edge_s
    assert spared.link_s == 0.0


async def test_inputs_are_taken_also_where_cut_0_is_not_on_offer(bench):
    class WritesThroughView(torch.nn.Module):
        def forward(self, x):
            view = x[:, :2]
            y = x * 2
            view.add_(1.0)
            return x + y

    model = LoadedModel("view", WritesThroughView().eval(), (torch.rand(1, 4),), preprocess=lambda image: image)
    parts = partition(model, CutSettings())
    parts.refused = {0: "for this test"}
    parts.check_inputs(model.example)
    with pytest.raises(MalformedError, match="takes 1 values, got 0"):
        parts.check_inputs([])
    with pytest.raises(CutError, match="cut 0 of model 'view' is not offered"):
        parts.check_values(0, model.example)
    async with bench(partition=parts, legal=(parts.table.last,)) as b:
        expected = model.module(model.example[0].clone())
        assert torch.equal((await b.engine.infer(model.example)).output, expected)


async def test_closing_releases_everything_whatever_fails(bench):
    closed = []

    class Failing(LoopbackTransport):
        async def close(self):
            raise OSError("cannot close")

    class Told(TorchExecutor):
        def run(self, segment):
            return segment(), 0.0

        def close(self):
            closed.append("executor")

    with pytest.raises(OSError, match="cannot close"):
        async with bench(executor=Told(), transport=Failing()) as b:
            pass
    assert closed == ["executor"]
    assert b.telemetry.closed
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("compute", "planning"))]


async def test_a_loopback_cloud_refuses_what_it_does_not_hold_as_a_cloud_does(tiny):
    transport = LoopbackTransport(tiny)
    with pytest.raises(CloudRefusedError, match="no model 'other'; there are: tiny") as caught:
        await transport.infer(TailRequest("other", 0, "", [], "x"))
    assert caught.value.http_status == 404
    assert (await transport.listing())["tiny"].legal == tiny.legal


async def test_a_batch_over_the_clouds_limit_is_finished_here_and_the_next_request_there(bench, tiny_model, cloud_url):
    batch = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    transport = HttpTransport(cloud_url, timeout_s=60.0, connect_timeout_s=60.0)
    async with bench(legal=MIDDLE, transport=transport, retry_after_s=60.0, scoped=True) as b:
        four = await b.engine.infer([batch])
        one = await b.engine.infer(tiny_model.example)
    assert four.finished_by == "edge"
    assert "the cloud says 413" in four.fallback
    assert torch.equal(four.output, whole(tiny_model, batch))
    assert (one.finished_by, one.fallback) == ("cloud", "")
