"""An edge plans with the profile that the cloud sends."""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec
import pytest

from midcut.edge.clouds.profile_fetcher import CloudProfileFetcher
from midcut.errors import CloudUnreachableError
from midcut.profiles import Role, decode_profile
from midcut.profiles.estimating import estimate


@pytest.fixture
def profile(tiny):
    return estimate(tiny.table, "cloud", Role.cloud)


class Clouds:
    def __init__(self, *answers):
        self.answers = list(answers)

    async def profile(self, model, tier=0):
        assert (model, tier) == ("tiny", 0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def used_profile(tiny, *answers):
    used = asyncio.get_running_loop().create_future()

    async def use(part, profile):
        assert part == "cloud"
        used.set_result(profile)

    clouds = Clouds(*answers)
    fetcher = CloudProfileFetcher(clouds, tiny.table, use)
    fetcher.start()
    try:
        while clouds.answers:
            await asyncio.sleep(0.01)
            fetcher.ask_soon()  # the cloud recovered
        return await asyncio.wait_for(used, 60)
    finally:
        await fetcher.close()


async def test_it_asks_until_the_cloud_answers(tiny, profile):
    answers = (CloudUnreachableError("down"), b"[]", msgspec.json.encode(profile))
    assert await used_profile(tiny, *answers) == profile


async def test_a_profile_of_another_graph_is_not_used(tiny, profile):
    other = msgspec.structs.replace(profile, table=msgspec.structs.replace(profile.table, graph="other"))
    assert await used_profile(tiny, msgspec.json.encode(other), msgspec.json.encode(profile)) == profile


async def test_a_cloud_measures_itself_once_for_all_that_ask(tiny, running_cloud):
    with running_cloud(tiny) as url:
        async with aiohttp.ClientSession() as session:

            async def ask(model):
                async with session.get(f"{url}/v1/models/{model}/profile") as response:
                    return response.status, await response.read()

            answers = await asyncio.gather(*(ask("tiny") for _ in range(3)))
            assert {status for status, _ in answers} == {200}
            assert len({body for _, body in answers}) == 1
            sent = decode_profile(answers[0][1], "the cloud")
            assert (sent.role, sent.modelled, sent.threads, sent.table) == (Role.cloud, False, 1, tiny.table)
            status, body = await ask("other")
            assert (status, "there are: tiny" in body.decode()) == (404, True)


async def test_before_a_relay_it_asks_for_its_seconds_and_for_those_of_its_upstream(tiny, profile):
    asked, used, done = [], {}, asyncio.Event()

    class Relay:
        async def profile(self, model, tier=0):
            asked.append((model, tier))
            return msgspec.json.encode(profile)

    async def use(part, profile):
        used[part] = profile
        if len(used) == 2:
            done.set()

    fetcher = CloudProfileFetcher(Relay(), tiny.table, use, lambda: True, frozenset({"cloud", "relay"}))
    fetcher.start()
    try:
        await asyncio.wait_for(done.wait(), 60)
    finally:
        await fetcher.close()
    assert asked == [("tiny", 0), ("tiny", 1)]
    assert used == {"relay": profile, "cloud": profile}
