"""The repository of a cloud: what it lists, loads and unloads, and what it refuses in one line."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager

import pytest
import torch
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from midcut.cli.verbs import cloud as cloud_verb
from midcut.cloud import HostedModels, make_app
from midcut.cloud.capturing import CaptureOutcome
from midcut.cloud.repository import Repository
from midcut.cloud.version import HostedVersion
from midcut.config.composition import compose
from midcut.config.settings import CloudSettings, CutSettings, RepositorySettings, ServerSettings
from midcut.errors import ConfigError, RepositoryError
from midcut.graph import partition
from midcut.graph.segments import Segments
from midcut.serving.threads import Threads
from midcut.types import LoadedModel


@pytest.fixture(scope="module")
def versions():
    """Letter -> the model `net` with other weights."""

    def make(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).eval()
        model = LoadedModel("net", module, (torch.ones(1, 4),), None, (), "")
        return HostedVersion(partition(model, CutSettings()), model)

    return {letter: make(seed) for seed, letter in enumerate("abc")}


class Loader:
    """Makes the version whose letter a file contains."""

    def __init__(self, versions):
        self.versions, self.captures = versions, []
        self.go_on = threading.Event()
        self.go_on.set()

    def capture(self, _name, file):
        self.captures.append(file.name)
        assert self.go_on.wait(60)
        letter = file.read_text()
        if letter not in self.versions:
            raise RepositoryError(f"cannot read the weights {file.name}: not safetensors")
        made = self.versions[letter]
        return CaptureOutcome(made.fingerprint, made.weights_bytes)

    def load(self, _name, file, **_):
        made = self.versions[file.read_text()]
        fresh = HostedVersion(made.partition)
        fresh.weights_bytes = made.weights_bytes
        return fresh

    def close(self):
        self.go_on.set()


class Gate:
    """An executor that computes when it is told to."""

    def __init__(self, executor):
        self._executor, self.open, self.reached, self.dropped = executor, threading.Event(), threading.Event(), []
        self.open.set()
        self.identity = "gate"

    def prepare(self, network, start, stop):
        segment, gate = self._executor.prepare(network, start, stop), self

        class Waiting:
            def run(self, values):
                gate.reached.set()
                assert gate.open.wait(60)
                return segment.run(values)

        return Waiting()

    def ready(self, *_):
        return True

    def drop(self, network):
        self.dropped.append(network.table.fingerprint)

    def close(self):
        pass


@pytest.fixture
def put(tmp_path):
    (tmp_path / "net").mkdir()

    def put(name, letter):
        (tmp_path / "net" / f"{name}.safetensors").write_text(letter)

    return put


@pytest.fixture
def running(tmp_path, versions, executor):
    """A cloud with the repository: client, loader, gate and what is held."""

    @asynccontextmanager
    async def start(**given):
        hosted, loader, gate = HostedModels({}), Loader(versions), Gate(executor)
        segments = Segments(gate)
        with Threads(1, "tail") as pool, Threads(1, "repository") as thread:
            settings = RepositorySettings(folder=str(tmp_path), **given)
            repository = Repository(hosted, loader, segments, thread, settings, batching=False)
            if settings.load_at_start:
                repository.load_at_start()
            app = make_app(hosted, segments, pool, ServerSettings(), CloudSettings(), repository=repository)
            async with TestClient(TestServer(app)) as client:
                yield client, loader, gate, hosted
            segments.close()

    return start


async def order(client, what, body=None, model="net"):
    async with client.post(f"/v2/repository/models/{model}/{what}", json=body or {}) as response:
        answer = await response.json()
        return response.status, answer.get("error", "")


async def index(client, **body):
    async with client.post("/v2/repository/index", json=body) as response:
        assert response.status == 200
        return {entry["version"]: (entry["state"], entry["reason"]) for entry in await response.json()}


async def until(client, condition):
    """Wait until the index fulfils a condition."""
    async with asyncio.timeout(60):
        while not condition(await index(client)):  # noqa: ASYNC110 - of another process's view
            await asyncio.sleep(0.01)


async def infer(client, path="net", **parameters):
    tensor = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    body = {"inputs": [tensor], "parameters": parameters}
    async with client.post(f"/v2/models/{path}/infer", json=body) as response:
        answer = await response.json()
        return answer["outputs"][0]["data"] if response.status == 200 else (response.status, answer["error"])


def whole(version):
    with torch.inference_mode():
        values = version.partition.run(0, version.partition.table.last, [torch.tensor([[1.0, 2.0, 3.0, 4.0]])])
    return values[0].flatten().tolist()


async def test_versions_are_loaded_and_each_request_gets_the_one_that_it_names(running, put, versions):
    put("1", "a")
    a, b = (versions[letter].fingerprint for letter in "ab")
    async with running() as (client, _, _, _):
        put("2", "b")
        put("2b", "b")  # the same weights under another name
        assert await index(client) == {
            a: ("READY", ""),
            "2.safetensors": ("UNAVAILABLE", "not loaded"),
            "2b.safetensors": ("UNAVAILABLE", "not loaded"),
        }
        assert await index(client, ready=True) == {a: ("READY", "")}
        assert await order(client, "load") == (200, "")
        assert await index(client) == {a: ("READY", ""), b: ("READY", "")}
        assert await infer(client) == whole(versions["b"])
        for fingerprint, letter in ((a, "a"), (b, "b")):
            assert await infer(client, fingerprint=fingerprint) == whole(versions[letter])
            assert await infer(client, path=f"net/versions/{fingerprint}") == whole(versions[letter])
            assert await infer(client, path=f"net/versions/{fingerprint}", fingerprint=fingerprint) is not None
        status, reason = await infer(client, path=f"net/versions/{a}", fingerprint=b)
        assert (status, "the path says version" in reason) == (409, True)
        status, reason = await infer(client, fingerprint="other")
        assert (status, f"model 'net' is {a} and {b} here, not 'other'" in reason) == (409, True)
        async with client.get("/v1/models") as response:
            (listed,) = (await response.json())["models"]
        assert (listed["fingerprint"], [each["fingerprint"] for each in listed["versions"]]) == (b, [a])


async def test_loading_an_older_version_again_makes_it_the_newest(running, put, versions):
    put("1", "a")
    async with running() as (client, loader, _, _):
        put("2", "b")
        await order(client, "load")
        assert await infer(client) == whole(versions["b"])
        assert await order(client, "load", {"parameters": {"weights": "1.safetensors"}}) == (200, "")
        assert await infer(client) == whole(versions["a"])
        assert loader.captures == ["2.safetensors"]  # nothing was captured for that


async def test_a_file_that_changed_is_a_further_version(running, put, versions):
    put("live", "a")
    async with running() as (client, _, _, _):
        (before,) = await index(client)
        put("live", "b")
        assert await order(client, "load") == (200, "")
        assert set(await index(client)) == {before, versions["b"].fingerprint}


async def test_requests_are_answered_while_a_version_is_loaded_and_the_load_goes_on_without_its_client(
    running, put, versions
):
    put("1", "a")
    async with running() as (client, loader, _, _):
        put("2", "b")
        loader.go_on.clear()
        loading = asyncio.create_task(order(client, "load"))
        await until(client, lambda found: found.get("2.safetensors") == ("LOADING", ""))
        assert await infer(client) == whole(versions["a"])
        loading.cancel()
        loader.go_on.set()
        await until(client, lambda found: found.get(versions["b"].fingerprint) == ("READY", ""))


async def test_unloading_waits_for_the_requests_that_run_and_releases_what_was_prepared(running, put, versions):
    put("1", "a")
    put("2", "b")
    a = versions["a"].fingerprint
    async with running() as (client, _, gate, hosted):
        gate.open.clear()
        running_request = asyncio.create_task(infer(client, fingerprint=a))
        await asyncio.to_thread(gate.reached.wait, 60)
        unloading = asyncio.create_task(order(client, "unload", {"parameters": {"version": a}}))
        await until(client, lambda found: found.get(a) == ("UNLOADING", "requests are being answered"))
        assert (await infer(client, fingerprint=a))[0] == 409
        assert not unloading.done()
        assert gate.dropped == []
        gate.open.set()
        assert await running_request == whole(versions["a"])
        assert await unloading == (200, "")
        assert gate.dropped == [a]
        assert await index(client) == {
            versions["b"].fingerprint: ("READY", ""),
            "1.safetensors": ("UNAVAILABLE", "unloaded"),
        }
        assert await order(client, "unload") == (200, "")  # all that are left
        assert hosted.names == []
        assert (await infer(client))[1].startswith("no model 'net' here; there are: none")
        assert await order(client, "load", {"parameters": {"config": json.dumps({"weights": "1"})}}) == (200, "")
        assert await infer(client) == whole(versions["a"])


@pytest.mark.parametrize(
    ("what", "body", "model", "status", "part"),
    [
        ("load", {}, "other", 404, "no weights of model 'other' in this repository; it has some of: net"),
        ("load", {}, "..", 404, ""),
        ("load", {"parameters": {"weights": "../net/1"}}, "net", 404, "there are: 1.safetensors, broken.safetensors"),
        ("load", {"parameters": {"weights": "broken"}}, "net", 409, "cannot read the weights broken.safetensors"),
        ("load", {"parameters": {"weights": 1}}, "net", 400, "parameter weights must be text, got 1"),
        ("load", {"parameters": {"config": "[1]"}}, "net", 400, "parameter config is no JSON object"),
        ("load", {"parameters": {"file:1/net.pt": "AA=="}}, "net", 400, "copy them into repository.folder"),
        ("load", {"parameters": 3}, "net", 400, "the body is not a request of the model repository extension"),
        ("unload", {}, "other", 404, "model 'other' is not loaded; loaded versions of it: none"),
        ("unload", {"parameters": {"version": "9"}}, "net", 404, "version '9' of model 'net' is not loaded"),
    ],
)
async def test_what_cannot_be_done_is_one_line(running, put, what, body, model, status, part):
    put("1", "a")
    put("broken", "?")
    async with running(load_at_start=False) as (client, _, _, _):
        got, reason = await order(client, what, body, model)
        assert got == status
        assert part in reason
        assert "\n" not in reason


async def test_limits_of_number_and_memory_hold_and_say_what_to_do(running, put, versions):
    for name, letter in zip("123", "abc", strict=True):
        put(name, letter)
    async with running(most_versions=2) as (client, _, _, _):
        found = await index(client)
        limit = "2 versions are held, repository.most_versions allows no more: unload one"
        assert found["3.safetensors"] == ("UNAVAILABLE", limit)
        assert await order(client, "load") == (409, limit)
        await order(client, "unload", {"parameters": {"weights": "1"}})
        assert await order(client, "load", {"parameters": {"weights": "3"}}) == (200, "")
    size = versions["a"].weights_bytes
    async with running(memory_mb=1.5 * size / 1e6, load_at_start=False) as (client, _, _, _):
        assert await order(client, "load", {"parameters": {"weights": "1"}}) == (200, "")
        status, reason = await order(client, "load", {"parameters": {"weights": "2"}})
        assert (status, "over repository.memory_mb=" in reason) == (409, True)
        assert set(await index(client, ready=True)) == {versions["a"].fingerprint}


async def test_a_cloud_without_a_repository_says_so(cloud_url):

    async with ClientSession() as session:
        for path in ("index", "models/tiny/load", "models/tiny/unload"):
            async with session.post(f"{cloud_url}/v2/repository/{path}", json={}) as response:
                assert response.status == 404
                assert "start it with repository.folder=FOLDER" in (await response.json())["error"]


async def test_only_administration_loads_and_unloads(running_cloud, monkeypatch):

    monkeypatch.setenv("USER_TOKEN", "user")
    monkeypatch.setenv("ADMIN_TOKEN", "admin")
    with running_cloud(token_env="USER_TOKEN", admin_token_env="ADMIN_TOKEN") as url:
        async with ClientSession() as session:
            for token, path, status in (
                ("user", "index", 404),  # there is no repository
                ("user", "models/tiny/load", 403),
                ("user", "models/tiny/unload", 403),
                ("admin", "models/tiny/unload", 404),
                ("none", "models/tiny/load", 401),
            ):
                headers = {"Authorization": f"Bearer {token}"}
                async with session.post(f"{url}/v2/repository/{path}", json={}, headers=headers) as response:
                    assert (token, path, response.status) == (token, path, status)


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["repository.folder=/no/such"], "repository.folder=/no/such: there is no such folder"),
        (["repository.folder=.", "cuts.cache=null"], "repository.folder needs cuts.cache=FOLDER"),
        (["repository.folder=.", "server.host=0.0.0.0"], "set server.admin_token_env or server.admin_token_file"),
        (["repository.folder=.", "upstream_url=http://a:1"], "a relay holds the models that it starts with"),
        (["repository.folder=.", "repository.most_versions=0"], "repository.most_versions must be at least 1"),
        (["repository.folder=.", "repository.memory_mb=0"], "repository.memory_mb must be over 0"),
    ],
)
def test_settings_that_go_with_no_repository_are_one_line(overrides, part):
    config = compose("cloud", ["model=[]", "server.port=0", *overrides])
    with pytest.raises(ConfigError) as caught:
        cloud_verb.run(config)
    assert part in str(caught.value)
