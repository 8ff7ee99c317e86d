"""Several clouds, their breakers, and what planning makes of them."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from unittest.mock import AsyncMock, Mock

import pytest
import torch

from midcut.config.composition import compose
from midcut.edge.clouds.failover import Clouds
from midcut.edge.routes import configs_by_url, telemetry_sources
from midcut.errors import (
    CloudRefusedError,
    CloudStrangerError,
    CloudTimeoutError,
    CloudUnreachableError,
    ConfigError,
)
from midcut.planning.breaker import BreakerState
from midcut.testing import LoopbackTransport
from midcut.types import TailReply, TailRequest

REQUEST = TailRequest("m", 1, "f", [], "r")
MIDDLE = (4, 9)


class Plain:
    """A transport that cannot list, and answers or raises what it is told."""

    def __init__(self, answer="reply"):
        self.answer, self.asked, self.timeouts = answer, 0, []

    async def open(self): ...

    async def close(self): ...

    async def infer(self, request):
        self.asked += 1
        self.timeouts.append(request.timeout_s)
        if self.answer == "hang":
            await asyncio.sleep(600)
        if isinstance(self.answer, Exception):
            raise self.answer
        return TailReply([self.answer], 0.0, 0.0, 0, 0, 0.0)


class Listing(Plain):
    async def listing(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"of": self.answer}


def fine(_):
    pass


async def asked(clouds, request=REQUEST, check=fine):
    return (await clouds.infer(request, check)).values[0]


async def test_an_exchange_is_over_before_its_answer_is_checked():
    """Telemetry waits for a pause between exchanges: computing a tail again takes long, and not the link."""
    under_way, seen = [], []

    @contextmanager
    def exchanging():
        under_way.append(1)
        try:
            yield
        finally:
            under_way.pop()

    class Noticing(Plain):
        async def infer(self, request):
            seen.append(len(under_way))
            return await super().infer(request)

    async def check_longer():
        seen.append(len(under_way))

    clouds = Clouds({"a": Noticing()}, retry_after_s=60.0)
    await clouds.infer(REQUEST, lambda _: check_longer(), exchanging)
    assert seen == [1, 0]


async def test_an_impatient_client_does_not_take_the_cloud_from_the_others():
    class Slow(Plain):
        async def infer(self, request):
            await asyncio.sleep(0.05)
            return await super().infer(request)

    clouds = Clouds({"a": Slow()}, retry_after_s=60.0, failures=3)
    assert await asked(clouds) == "reply"
    for _ in range(10):
        with pytest.raises(CloudTimeoutError):
            await asked(clouds, TailRequest("m", 1, "f", [], "r", timeout_s=0.001))
    assert clouds.state is BreakerState.closed
    assert await asked(clouds) == "reply"


async def test_a_timeout_on_a_kept_connection_does_not_count():
    clouds = Clouds({"a": Plain(CloudTimeoutError("no answer", reused=True))}, retry_after_s=60.0, failures=1)
    with pytest.raises(CloudTimeoutError):
        await asked(clouds)
    assert clouds.state is BreakerState.closed


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "error",
    [
        CloudUnreachableError("gone"),
        CloudTimeoutError("slow"),
        CloudRefusedError("other weights", http_status=409),
        CloudRefusedError("busy", http_status=503, retry_after_s=2.0),
        RuntimeError("a bug in a stranger's transport"),
    ],
)
async def test_where_the_first_cloud_fails_the_next_one_answers_the_same_request(error):
    first, second = Plain(error), Plain("second")
    clouds = Clouds({"a": first, "b": second}, retry_after_s=60.0, failures=1)
    assert await asked(clouds) == "second"
    assert clouds.states() == {"a": "open", "b": "closed"}
    assert clouds.state is BreakerState.closed
    assert await asked(clouds) == "second"
    assert (first.asked, second.asked) == (1, 2)
    await clouds.close()


async def test_the_first_cloud_is_preferred_and_two_are_tried_at_most():
    transports = {name: Plain(name) for name in "abc"}
    clouds = Clouds(transports, retry_after_s=60.0, failures=1)
    assert await asked(clouds) == "a"
    transports["a"].answer = transports["b"].answer = CloudUnreachableError("gone")
    with pytest.raises(CloudUnreachableError):
        await asked(clouds)
    assert await asked(clouds) == "c"
    assert clouds.why == "a: gone; b: gone"
    await clouds.close()


async def test_what_is_wrong_with_the_request_is_not_tried_elsewhere():
    second = Plain("second")
    clouds = Clouds({"a": Plain(CloudRefusedError("too large", http_status=413)), "b": second}, 60.0, failures=1)
    with pytest.raises(CloudRefusedError, match="too large"):
        await asked(clouds)
    assert second.asked == 0
    assert clouds.states() == {"a": "closed", "b": "closed"}


async def test_a_wrong_answer_is_a_failure_of_that_cloud():
    def check(reply):
        if reply.values == ["wrong"]:
            raise CloudRefusedError("the reply does not fit")

    clouds = Clouds({"a": Plain("wrong"), "b": Plain("right")}, 60.0, failures=1)
    assert await asked(clouds, check=check) == "right"
    assert clouds.states() == {"a": "open", "b": "closed"}
    await clouds.close()


async def test_all_open_says_why_and_asks_nobody():
    first, second = Plain(CloudUnreachableError("gone")), Plain(CloudTimeoutError("slow"))
    clouds = Clouds({"a": first, "b": second}, 60.0, failures=1)
    with pytest.raises(CloudTimeoutError):
        await asked(clouds)
    assert clouds.state is BreakerState.open
    assert "a: the cloud failed, next try in" in clouds.blocked_reason()
    with pytest.raises(CloudUnreachableError, match="next try in"):
        await asked(clouds)
    assert (first.asked, second.asked) == (1, 1)
    await clouds.close()


async def test_an_open_breaker_half_opens_only_when_the_cloud_lists_its_models_again():
    cloud = Listing(CloudUnreachableError("gone"))
    clouds = Clouds({"a": cloud}, retry_after_s=0.02, failures=1)
    with pytest.raises(CloudUnreachableError):
        await asked(clouds)
    await asyncio.sleep(0.1)
    assert clouds.state is BreakerState.open
    assert cloud.asked == 1  # no request was spent on finding out
    cloud.answer = "back"
    await until(lambda: clouds.state is BreakerState.half_open)
    assert await asked(clouds) == "back"
    assert clouds.state is BreakerState.closed
    await clouds.close()


async def test_after_a_requested_wait_a_failing_cloud_is_tried_by_every_request_again():
    """With retry_after_s=0; a listing that fails says so to planning too."""
    cloud, states = Listing(CloudRefusedError("busy", http_status=503, retry_after_s=0.02)), []
    clouds = Clouds({"a": cloud}, retry_after_s=0.0)
    clouds.on_change.append(lambda: states.append(clouds.state))
    with pytest.raises(CloudRefusedError):
        await asked(clouds)
    assert states == [BreakerState.open]
    cloud.answer = CloudUnreachableError("gone")
    await until(lambda: states[1:])
    assert states == [BreakerState.open, BreakerState.closed]
    await clouds.close()


async def test_a_transport_that_cannot_list_half_opens_by_time_and_one_request_finds_out():
    cloud = Plain(CloudUnreachableError("gone"))
    clouds, states = Clouds({"a": cloud}, retry_after_s=0.02, failures=1), []
    clouds.on_change.append(lambda: states.append(clouds.state))
    for tries in (1, 2):
        with pytest.raises(CloudUnreachableError):
            await asked(clouds)
        await until(lambda: clouds.state is BreakerState.half_open)
        assert states == [BreakerState.open, BreakerState.half_open] * tries
    cloud.answer = "hang"
    trying = asyncio.create_task(asked(clouds))
    await until(lambda: cloud.asked == 3)
    assert "one request is trying it again" in clouds.blocked_reason()
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    assert clouds.blocked_reason() == ""
    await clouds.close()


async def test_the_second_try_has_the_time_that_is_left():
    class Slow(Plain):
        async def infer(self, request):
            await asyncio.sleep(0.05)
            return await super().infer(request)

    first, second = Slow(CloudUnreachableError("gone")), Plain("second")
    clouds = Clouds({"a": first, "b": second}, 60.0)
    assert await asked(clouds, TailRequest("m", 1, "f", [], "r", timeout_s=60.0)) == "second"
    assert first.timeouts == [60.0]
    assert 0.0 < second.timeouts[0] <= 59.95


async def test_where_the_first_cloud_took_all_the_time_there_is_no_second_try():
    class Well(Plain):
        async def infer(self, request):
            await asyncio.sleep(0)
            return await super().infer(request)

    second = Well("second")
    clouds = Clouds({"a": Plain("hang"), "b": second}, retry_after_s=0.04, failures=3)
    with pytest.raises(CloudTimeoutError, match=r"no answer in 0\.05 s"):
        await asked(clouds, TailRequest("m", 1, "f", [], "r", timeout_s=0.05))
    assert clouds.states() == {"a": "open", "b": "closed"}
    assert second.asked == 0
    await clouds.close()


@pytest.mark.parametrize(("taken_s", "state"), [(0.9, "closed"), (0.1, "open")])
async def test_a_second_cloud_is_to_blame_only_for_what_it_had_time_for(monkeypatch, taken_s, state):
    now_s = 100.0
    monkeypatch.setattr("midcut.edge.clouds.failover.perf_counter", lambda: now_s)

    class Failing(Plain):
        async def infer(self, request):
            nonlocal now_s
            now_s += taken_s * request.timeout_s
            return await super().infer(request)

    clouds = Clouds({"a": Failing(CloudUnreachableError("gone")), "b": Plain("hang")}, retry_after_s=60.0, failures=1)
    with pytest.raises(CloudTimeoutError):
        await asked(clouds, TailRequest("m", 1, "f", [], "r", timeout_s=0.2))
    assert clouds.states() == {"a": "open", "b": state}
    await clouds.close()


async def test_a_deadline_that_no_cloud_could_keep_is_no_failure_of_the_cloud():
    class Slow(Plain):
        async def infer(self, request):
            await asyncio.sleep(0.05)
            return await super().infer(request)

    slow = Slow("fine")
    clouds = Clouds({"a": slow}, 60.0, failures=1)
    assert await asked(clouds) == "fine"
    with pytest.raises(CloudTimeoutError, match=r"no answer in 0\.01 s"):
        await asked(clouds, TailRequest("m", 1, "f", [], "r", timeout_s=0.01))
    assert clouds.state is BreakerState.closed
    slow.answer = "hang"
    with pytest.raises(CloudTimeoutError):
        await asked(clouds, TailRequest("m", 1, "f", [], "r", timeout_s=1.0))  # more than the answer took
    assert clouds.state is BreakerState.open
    await clouds.close()


async def test_models_are_listed_by_the_first_cloud_that_can():
    clouds = Clouds({"a": Plain(), "b": Listing(CloudUnreachableError("gone")), "c": Listing("c")}, 60.0)
    assert await clouds.lister.listing() == {"of": "c"}
    assert Clouds({"a": Plain()}, 60.0).lister is None


async def test_planning_goes_to_the_edge_when_the_cloud_is_lost_and_back_when_it_is_found(bench, tiny, tiny_model):
    transport = LoopbackTransport(tiny)
    # Planning steps are an hour apart: what happens here happens because of the breaker.
    async with bench(legal=MIDDLE, transport=transport, retry_after_s=0.05, interval_s=3600.0) as b:
        assert b.engine.decision.placement.cut == 4
        transport.up = False
        lost = await b.engine.infer(tiny_model.example)
        assert (lost.cut, lost.finished_by, lost.fallback) == (4, "edge", "the loopback cloud is switched off")
        await b.until(lambda: b.engine.decision.placement.cut == 9)
        assert b.engine.decision.reason == "the circuit breaker is open: the loopback cloud is switched off"
        alone = await b.engine.infer(tiny_model.example)
        assert (alone.cut, alone.fallback) == (9, "")
        transport.up = True
        await b.until(lambda: b.engine.decision.placement.cut == 4)
        assert b.clouds.state is BreakerState.half_open
        assert (await b.engine.infer(tiny_model.example)).finished_by == "cloud"
        assert b.clouds.state is BreakerState.closed


async def test_planning_goes_on_with_the_cloud_while_one_of_two_is_well(bench, tiny, tiny_model):
    first, second = LoopbackTransport(tiny), LoopbackTransport(tiny)
    async with bench(legal=MIDDLE, transport=first, more_clouds={"other": second}, retry_after_s=60.0) as b:
        first.up = False
        results = [await b.engine.infer(tiny_model.example) for _ in range(4)]
        assert b.clouds.states() == {"cloud": "open", "other": "closed"}
        assert b.engine.decision.placement.cut == 4
    assert {result.finished_by for result in results} == {"cloud"}
    with torch.inference_mode():
        assert all(torch.equal(result.output, tiny_model.module(*tiny_model.example)) for result in results)


def composed(*overrides):
    return compose("edge", ["model=mnist", *overrides])


def test_one_config_a_cloud():
    made = configs_by_url(composed("cloud_url=[http://a:1,http://b:2]"))
    assert {url: one.transport.url for url, one in made.items()} == {
        "http://a:1": "http://a:1",
        "http://b:2": "http://b:2",
    }
    assert list(configs_by_url(composed("cloud_url=http://a:1"))) == ["http://a:1"]


@pytest.mark.parametrize("told", ["[]", "null", "[http://a:1,5]"])
def test_something_else_than_urls_is_one_line(told):
    with pytest.raises(ConfigError, match="cloud_url must be a URL or a list of URLs"):
        configs_by_url(composed(f"cloud_url={told}"))


def test_what_measures_the_way_to_the_cloud_is_made_for_each():
    made = configs_by_url(
        composed("cloud_url=[http://127.0.0.1:1,http://127.0.0.1:2]", "telemetry=[tcp_ping,constant]")
    )
    assert list(telemetry_sources(made)) == ["tcp_ping", "constant", "tcp_ping to http://127.0.0.1:2"]


async def test_a_cloud_that_computes_something_else_is_never_asked_and_the_next_one_is():
    wrong, right = Listing("wrong"), Listing("right")
    clouds = Clouds({"a": wrong, "b": right}, retry_after_s=60.0)
    clouds.find_mismatch = lambda models: "another answer" if models["of"] == "wrong" else ""
    assert await asked(clouds) == "right"
    assert await asked(clouds) == "right"
    assert (wrong.asked, right.asked) == (0, 2)
    right.answer = "wrong"
    await clouds.listing()
    assert clouds.blocked_reason() == ""
    alone = Clouds({"a": wrong}, retry_after_s=60.0)
    alone.find_mismatch = clouds.find_mismatch
    with pytest.raises(CloudRefusedError, match="another answer"):
        await asked(alone)
    assert alone.blocked_reason() == "another answer"
    assert wrong.asked == 0


@pytest.mark.parametrize("clouds_there", [1, 2])
@pytest.mark.parametrize("at_first", ["stranger", "other answers"])
async def test_a_cloud_that_must_not_be_used_gets_another_chance(monkeypatch, at_first, clouds_there):
    now_s = 100.0
    monkeypatch.setattr("midcut.edge.clouds.failover.perf_counter", lambda: now_s)
    cloud = Listing(CloudStrangerError("a proxy", http_status=404) if at_first == "stranger" else "wrong")
    others = {"b": Listing(CloudUnreachableError("gone"))} if clouds_there == 2 else {}
    clouds = Clouds({"a": cloud} | others, retry_after_s=60.0, failures=9)
    clouds.find_mismatch = lambda models: "another answer" if models["of"] == "wrong" else ""
    with pytest.raises(CloudUnreachableError if others else CloudRefusedError):
        await asked(clouds)
    cloud.answer = "right"
    cloud.listing, lists = AsyncMock(side_effect=CloudUnreachableError("gone again")), cloud.listing
    for _ in range(2):
        now_s += 31.0
        with pytest.raises(CloudUnreachableError if others else CloudRefusedError):
            await asked(clouds)
        assert cloud.asked == 0  # what it is now is not known yet
    cloud.listing = lists
    if not others:
        assert clouds.blocked_reason()
    now_s += 31.0
    assert await asked(clouds) == "right"
    await clouds.close()


async def test_a_codec_that_fails_here_is_not_blamed_on_the_cloud():
    cloud = Listing("fine")
    clouds = Clouds({"a": cloud}, retry_after_s=60.0, failures=1)
    clouds.find_mismatch = lambda _: ""
    clouds.adapter = Mock(takes=Mock(return_value=False), adapt=AsyncMock(side_effect=MemoryError("400 MB")))
    with pytest.raises(CloudUnreachableError, match="another codec failed: MemoryError: 400 MB"):
        await asked(clouds, TailRequest("of", 1, "f", [], "r"))
    assert (cloud.asked, clouds.why) == (0, "")


async def test_a_cloud_that_lists_nothing_is_asked_all_the_same():
    cloud = Listing("fine")
    cloud.listing = AsyncMock(side_effect=CloudRefusedError("no such page", http_status=404))
    clouds = Clouds({"a": cloud}, retry_after_s=60.0)
    clouds.find_mismatch = lambda _: "never"
    assert [await asked(clouds) for _ in range(2)] == ["fine", "fine"]
    assert cloud.listing.await_count == 1
