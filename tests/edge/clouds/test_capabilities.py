from __future__ import annotations

import asyncio

import pytest
import structlog
from msgspec.structs import replace

from midcut.edge.clouds.capabilities import CloudCapabilities, usable_cuts, usable_scope
from midcut.edge.clouds.failover import Clouds
from midcut.errors import CloudRefusedError, CloudStrangerError, CloudUnreachableError, ConfigError
from midcut.testing import LoopbackTransport
from midcut.types import HeldModel, Placement, Probe, UpstreamModel


def held(table, legal=range(10), graph=None, weights=None):
    return {"tiny": HeldModel(f"{graph or table.graph}-{weights or table.weights}", tuple(legal))}


def test_a_cloud_that_offers_all_cuts_narrows_nothing(tiny):
    assert usable_cuts(held(tiny.table), tiny.table, tiny.legal) == (tiny.legal, "")
    assert usable_cuts(held(tiny.table), tiny.table, (2, 5)) == ((2, 5), "")


@pytest.mark.parametrize(
    ("legal", "there", "usable"),
    [
        (range(10), range(5), (0, 1, 2, 3, 4, 9)),  # the last cut needs no cloud
        (range(8), range(5), (0, 1, 2, 3, 4)),  # the edge itself does not offer the last one
        ((3, 6, 9), (1, 6), (6, 9)),
        ((7, 9), range(5), (9,)),
        ((6, 7), range(5), (6, 7)),  # nothing would be left: the edge finishes what the cloud refuses
    ],
)
def test_planning_is_for_cuts_that_both_offer(tiny, legal, there, usable):
    cuts, why = usable_cuts(held(tiny.table, there), tiny.table, tuple(legal))
    assert cuts == usable
    assert why == f"the cloud takes {len(there)} cuts of 'tiny': {min(there)} to {max(there)}"


@pytest.mark.parametrize(
    ("graph", "weights", "part"),
    [("x", None, "other graph or cuts"), (None, "x", "other weights"), ("x", "y", "other graph or cuts and weights")],
)
def test_it_says_what_differs(tiny, graph, weights, part):
    cuts, why = usable_cuts(held(tiny.table, graph=graph, weights=weights), tiny.table, tiny.legal)
    assert cuts == (9,)
    assert why.partition(";")[0].endswith(f": {part}")


def test_a_cloud_without_the_model_says_what_it_has(tiny):
    cuts, why = usable_cuts({"vgg16": HeldModel("f", (0,))}, tiny.table, tiny.legal)
    assert cuts == (9,)
    assert why == "the cloud does not hold model 'tiny'; it holds: vgg16"


def taking(tiny, codecs, there=range(10)):
    return {"tiny": HeldModel(tiny.table.fingerprint, tuple(there), codecs)}


@pytest.mark.parametrize(
    ("wanted", "taken", "left", "refused"),
    [
        (("raw", "fp16"), ("raw", "zstd"), ("raw",), "fp16"),
        (("int8", "zstd", "raw"), ("zstd",), ("zstd",), "int8, raw"),
    ],
)
def test_planning_is_with_codecs_that_the_cloud_takes(tiny, wanted, taken, left, refused):
    scope = usable_scope(taking(tiny, taken), tiny.table, tiny.legal, wanted)
    why = f"the cloud does not take codec {refused}; it takes: {', '.join(taken)}"
    assert scope[:3] == (tiny.legal, left, why)


def test_a_cloud_that_takes_all_codecs_or_says_nothing_of_them_narrows_none(tiny):
    for said in (None, ("raw", "fp16", "more")):
        assert usable_scope(taking(tiny, said), tiny.table, tiny.legal, ("fp16", "raw"))[:3] == (
            tiny.legal,
            ("fp16", "raw"),
            "",
        )


def test_without_a_common_codec_planning_is_for_the_edge(tiny):
    why = "the cloud does not take codec fp16; it takes: raw"
    assert usable_scope(taking(tiny, ("raw",)), tiny.table, tiny.legal, ("fp16",))[:3] == ((9,), ("fp16",), why)
    # Where the edge must not finish by itself, all is as before, and every request ends there after a refusal.
    assert usable_scope(taking(tiny, ("raw",)), tiny.table, (2, 3), ("fp16",))[:3] == ((2, 3), ("fp16",), why)


def test_cuts_and_codecs_are_narrowed_at_once(tiny):
    scope = usable_scope(taking(tiny, ("raw",), range(3)), tiny.table, tiny.legal, ("raw", "fp16"))
    assert (scope.cuts, scope.codecs) == ((0, 1, 2, 9), ("raw",))
    assert scope.why == ("the cloud takes 3 cuts of 'tiny': 0 to 2; the cloud does not take codec fp16; it takes: raw")


def test_what_a_relay_can_pass_on_is_what_the_edge_offers_too(tiny):
    models = held(tiny.table)
    assert usable_scope(models, tiny.table, tiny.legal, ("raw",)).onward is None
    for upstream, onward in (
        (UpstreamModel((1, 2, 30), ("zstd", "raw")), UpstreamModel((1, 2), ("raw",))),
        (
            UpstreamModel((1, 2), ("zstd",)),
            UpstreamModel((), (), "the relay takes none of the codecs raw for its upstream"),
        ),
        (UpstreamModel((), ("raw",), "down"), UpstreamModel((), ("raw",), "beyond the relay: down")),
    ):
        listed = {"tiny": replace(models["tiny"], upstream=upstream)}
        scope = usable_scope(listed, tiny.table, tiny.legal, ("raw",))
        assert (scope.cuts, scope.onward, scope.why) == (tiny.legal, onward, onward.why)


class Listing(LoopbackTransport):
    """A cloud whose list can be changed, and whose tails take only what is listed."""

    def __init__(self, partition, legal):
        super().__init__(partition)
        self.legal, self.asked, self.trouble = tuple(legal), 0, None
        self._table = partition.table

    async def listing(self):
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        if not self.up:
            raise CloudUnreachableError("off")
        return held(self._table, self.legal)

    async def infer(self, request):
        if self.up and request.cut not in self.legal:
            raise CloudRefusedError(f"cut {request.cut} is not offered", http_status=400)
        return await super().infer(request)


def legal(b):
    return [int(cut) for cut in b.planning._policy.placements.cut]


async def test_at_start_planning_is_narrowed_with_one_line(bench, tiny, tiny_model):
    with structlog.testing.capture_logs() as logs:
        async with bench(transport=Listing(tiny, range(3, 6)), scoped=True) as b:
            assert legal(b) == [3, 4, 5, 9]
            assert b.engine.decision.placement.cut == 3  # a fast link would have put it at 0
            assert (await b.engine.infer(tiny_model.example)).finished_by == "cloud"
    narrowed = [entry for entry in logs if entry["event"].startswith("planning on")]
    assert [(entry["event"], entry["log_level"]) for entry in narrowed] == [("planning on fewer cuts", "warning")]


async def test_after_a_refusal_it_asks_again_and_plans_on_what_is_left(bench, tiny, tiny_model):
    transport = Listing(tiny, range(10))
    async with bench(transport=transport, scoped=True) as b:
        assert b.engine.decision.placement.cut == 0
        transport.legal = (5, 6)  # a cloud started anew with cuts.first_cut=5
        refused = await b.engine.infer(tiny_model.example)
        assert (refused.finished_by, refused.fallback) == ("edge", "cut 0 is not offered")
        await b.until(lambda: b.engine.decision.placement.cut == 5)
        assert (await b.engine.infer(tiny_model.example)).finished_by == "cloud"
        assert legal(b) == [5, 6, 9]


async def test_a_cloud_that_comes_late_is_asked_when_it_answers(bench, tiny, tiny_model):
    transport = Listing(tiny, (0, 1))
    transport.up = False
    with structlog.testing.capture_logs() as logs:
        async with bench(transport=transport, scoped=True) as b:
            assert legal(b) == list(range(10))
            assert (await b.engine.infer(tiny_model.example)).finished_by == "edge"
            transport.up = True
            assert (await b.engine.infer(tiny_model.example)).finished_by == "cloud"
            await b.until(lambda: legal(b) == [0, 1, 9])
    assert "the cloud is not there yet" in [entry["event"] for entry in logs]


async def test_a_cloud_that_comes_before_the_first_request_is_planned_for_after_it(bench, tiny, tiny_model):
    transport = Listing(tiny, (0, 1))
    transport.up = False
    async with bench(transport=transport, scoped=True) as b:
        transport.up = True
        assert (await b.engine.infer(tiny_model.example)).finished_by == "cloud"
        await b.until(lambda: legal(b) == [0, 1, 9])


async def test_a_cloud_that_comes_late_is_found_without_any_request(bench, tiny, monkeypatch):
    monkeypatch.setattr("midcut.edge.clouds.capabilities._REPEAT_S", 0.05)
    monkeypatch.setattr("midcut.edge.clouds.capabilities._MIN_GAP_S", 0.0)
    transport = Listing(tiny, (0, 1))
    transport.up = False
    async with bench(transport=transport, scoped=True) as b:
        transport.up = True
        await b.until(lambda: legal(b) == [0, 1, 9])


async def test_a_proxy_without_its_cloud_at_the_first_request_is_planned_around(bench, tiny, tiny_model):
    transport = Listing(tiny, range(10))
    transport.up = False
    async with bench(transport=transport, scoped=True) as b:
        transport.up, transport.trouble = True, CloudStrangerError("no such page", http_status=404)
        result = await b.engine.infer(tiny_model.example)
        assert (result.finished_by, result.fallback) == ("edge", "no such page")
        await b.until(lambda: legal(b) == [9])


async def test_planning_that_was_narrowed_to_nothing_sent_finds_out_by_itself(bench, tiny, monkeypatch):
    monkeypatch.setattr("midcut.edge.clouds.capabilities._REPEAT_S", 0.05)
    monkeypatch.setattr("midcut.edge.clouds.capabilities._MIN_GAP_S", 0.0)
    transport = Listing(tiny, ())
    async with bench(transport=transport, scoped=True) as b:
        assert legal(b) == [9]
        transport.legal = tiny.legal
        await b.until(lambda: b.engine.decision.placement.cut == 0)
        await asyncio.sleep(0.2)
        asked = transport.asked
        await asyncio.sleep(0.2)
        assert transport.asked <= asked + 1  # nothing is narrowed: nobody asks, but for who was asking


@pytest.mark.parametrize("trouble", [RuntimeError("a bug"), ConfigError("no"), CloudRefusedError("503", 503)])
async def test_a_listing_that_fails_changes_nothing(bench, tiny, tiny_model, trouble):
    transport = Listing(tiny, range(10))
    transport.trouble = trouble
    async with bench(transport=transport, scoped=True) as b:
        assert legal(b) == list(range(10))
        assert (await b.engine.infer(tiny_model.example)).finished_by == "cloud"


@pytest.mark.parametrize(
    ("error", "status"),
    [(CloudRefusedError, 404), (CloudRefusedError, 308), (CloudStrangerError, 404), (CloudStrangerError, 0)],
)
async def test_a_server_that_is_no_midcut_cloud_is_sent_nothing_until_one_is_there(
    bench, tiny, tiny_model, status, error, monkeypatch
):
    monkeypatch.setattr("midcut.edge.clouds.capabilities._REPEAT_S", 0.05)
    monkeypatch.setattr("midcut.edge.clouds.capabilities._MIN_GAP_S", 0.0)
    transport = Listing(tiny, range(10))
    transport.trouble = error("127.0.0.1:1 is mlserver 1.7.1, not a midcut cloud", http_status=status)
    with structlog.testing.capture_logs() as logs:
        async with bench(transport=transport, scoped=True) as b:
            assert legal(b) == [9]
            assert (await b.engine.infer(tiny_model.example)).finished_by == "edge"
            if error is CloudStrangerError:  # nor where a client chooses the cut
                chosen = await b.engine.infer(tiny_model.example, placement=Placement(0))
                assert (chosen.finished_by, chosen.fallback) == ("edge", str(transport.trouble))
            assert transport.requests == []
            transport.trouble = None
            await b.until(lambda: legal(b) == list(range(10)) and b.engine.decision.placement.cut != 9)
            assert (await b.engine.infer(tiny_model.example)).finished_by == "cloud"
    (line,) = [entry for entry in logs if entry["event"] == "planning for the edge alone"]
    assert line["reason"] == "127.0.0.1:1 is mlserver 1.7.1, not a midcut cloud"


async def test_a_question_is_asked_also_where_files_change_size_at_the_same_moment(bench, tiny, monkeypatch):
    monkeypatch.setattr("midcut.edge.clouds.capabilities._MIN_GAP_S", 0.0)
    async with bench(transport=Listing(tiny, range(10)), scoped=True) as b:
        scope, seen = b.engine.parts.capabilities, []
        scope.on_listing.append(lambda _: seen.append("listed"))
        scope.on_replan.append(lambda: seen.append("planned"))
        scope.ask_soon()
        scope.replan_soon()
        await b.until(lambda: {"listed", "planned"} <= set(seen))
        seen.clear()
        monkeypatch.setattr(scope, "_policy_for", None)  # so that planning anew raises an error
        scope.ask_soon()
        scope.replan_soon()
        await b.until(lambda: "listed" in seen)


async def test_a_transport_that_cannot_list_is_not_asked(tiny):
    class Plain:
        async def open(self): ...

        async def infer(self, request): ...

        async def close(self): ...

    scope = CloudCapabilities(Clouds({"cloud": Plain()}, 1.0).lister, tiny, planning=None, policy_for=None)
    await scope.start()
    scope.ask_soon()
    await scope.close()


class OtherAnswers(LoopbackTransport):
    """A cloud with the same fingerprint whose arithmetic is another one, such as another version of a library."""

    async def listing(self):
        return {name: replace(model, probe=self.probe) for name, model in (await super().listing()).items()}

    @property
    def probe(self):
        (output,) = self._partitions["tiny"].probe.outputs
        return Probe(self._partitions["tiny"].probe.inputs, (tuple(number * 1.2 for number in output),))


async def test_a_cloud_that_answers_the_probe_differently_is_never_asked(bench, tiny, tiny_model):
    transport = OtherAnswers(tiny)
    with structlog.testing.capture_logs() as logs:
        async with bench(transport=transport, scoped=True) as b:
            assert legal(b) == [9]
            assert (await b.engine.infer(tiny_model.example)).finished_by == "edge"
            forced = await b.engine.infer(tiny_model.example, placement=Placement(3))
            assert forced.finished_by == "edge"
            assert "gives another answer to the same input: output 0 differs by" in forced.fallback
    assert transport.requests == []
    (line,) = [entry for entry in logs if entry["event"] == "planning for the edge alone"]
    assert "\n" not in line["reason"]


async def test_a_cloud_that_comes_back_with_other_answers_is_planned_around(bench, tiny, tiny_model):
    class Updated(OtherAnswers):
        other = False

        async def listing(self):
            return await (super() if self.other else super(OtherAnswers, self)).listing()

    transport = Updated(tiny)
    async with bench(transport=transport, scoped=True, retry_after_s=0.05) as b:
        assert (await b.engine.infer(tiny_model.example)).finished_by == "cloud"
        transport.up = False
        assert (await b.engine.infer(tiny_model.example)).finished_by == "edge"
        transport.up = transport.other = True
        await b.until(lambda: legal(b) == [9])


def test_a_cloud_that_sends_no_probe_is_used_as_before(tiny):
    assert usable_cuts(held(tiny.table), tiny.table, tiny.legal, tiny.probe) == (tiny.legal, "")
