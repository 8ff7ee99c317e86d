"""An edge, a cloud and a client in one program, against the unsplit model."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import midcut
from midcut.errors import ConfigError, MalformedError, WireError

NO_CLOUD = "cloud_url=http://127.0.0.1:9"
QUIET = ("telemetry=constant", "cuts.cache=null")


@pytest.fixture
def net(tiny_model):
    return midcut.cut(
        tiny_model.module, tiny_model.example, name="tiny", preprocess=tiny_model.preprocess, labels=("a", "b")
    )


async def test_an_edge_and_a_cloud_of_this_program_give_the_whole_model_s_bits(net, tiny_model, single_threaded):
    del single_threaded
    example = tiny_model.example[0]
    with torch.no_grad():
        whole = tiny_model.module(example)
    async with (
        midcut.Cloud("server.port=0", models=[net]) as cloud,
        midcut.Edge(f"cloud_url={cloud.url}", "executor=native", *QUIET, model=net) as edge,
    ):
        assert edge.decision.placement.cut in net.cuts
        for cut in net.cuts:
            result = await edge.infer(example, cut=cut)
            assert torch.equal(result.output, whole)
            assert result.finished_by == ("edge" if cut == net.cuts[-1] else "cloud")
        with pytest.raises(MalformedError, match="cut 99 is not on offer"):
            await edge.infer(example, cut=99)


async def test_the_settings_of_cuts_hold_for_a_model_of_this_program(net, tiny_model):
    async with (
        midcut.Cloud("server.port=0", models=[net]) as cloud,
        midcut.Edge(f"cloud_url={cloud.url}", *QUIET, "cuts.first_cut=4", "cuts.last_cut=4", model=net) as edge,
    ):
        assert (await edge.infer(*tiny_model.example)).cut == 4
        with pytest.raises(MalformedError, match=r"cut 5 is not on offer; the cuts are \(4,\)"):
            await edge.infer(*tiny_model.example, cut=5)


async def test_a_client_gets_what_the_edge_gives(net, tiny_model, tmp_path, single_threaded):
    del single_threaded
    example = tiny_model.example[0]
    picture = tmp_path / "picture.png"
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(picture)
    async with (
        midcut.Edge(NO_CLOUD, "executor=native", "input.port=0", *QUIET, model=net, serve=True) as edge,
        midcut.Client(edge.url) as client,
    ):
        answer = await client.infer(example)
        with torch.no_grad():
            assert torch.equal(next(iter(answer.outputs.values())), tiny_model.module(example))
        assert answer.fields["finished_by"] == "edge"
        here, there = await edge.classify(picture), await client.classify(picture)
        assert here["top5"] == there.fields["top5"]
        assert (await client.classify(picture.read_bytes())).fields["label"] == here["label"]
        assert (await client.health())["model"] == "tiny"
        assert (await client.decision())["cut"] == edge.decision.placement.cut
        with pytest.raises(WireError, match="answered 400: not an image"):
            await client.classify(b"no picture")


async def test_what_cannot_be_is_one_clear_error(net, tiny_model):
    with pytest.raises(ConfigError, match=r"edge: Could not override 'planner\.v'"):
        async with midcut.Edge("planner.v=1", model=net):
            pass
    with pytest.raises(ConfigError, match=r"within `async with midcut\.Edge"):
        await midcut.Edge(model=net).infer(tiny_model.example[0])
    with pytest.raises(ConfigError, match="leave input=server"):
        async with midcut.Edge("input=folder", "input.path=.", model=net):
            pass
    with pytest.raises(ConfigError, match="leave out output=stdout"):
        async with midcut.Edge("output=stdout", model=net):
            pass
    with pytest.raises(ConfigError, match=r"midcut\.Edge\(serve=True\) serves"):
        async with midcut.Edge("server.enabled=true", model=net):
            pass
    async with midcut.Client("http://127.0.0.1:9") as client:
        with pytest.raises(WireError, match=r"127\.0\.0\.1:9"):
            await client.health()
    with pytest.raises(ConfigError, match=r"within `async with midcut\.Client"):
        await midcut.Client().health()
    async with midcut.Edge(NO_CLOUD, *QUIET, model=midcut.cut(tiny_model.module, tiny_model.example)) as edge:
        data = io.BytesIO()
        Image.new("RGB", (16, 16)).save(data, "PNG")
        with pytest.raises(MalformedError, match="takes tensors"):
            await edge.classify(data.getvalue())


async def test_a_port_that_is_taken_is_said_and_leaves_nothing_running(net):
    async with midcut.Cloud("server.port=0", models=[net]) as cloud:
        port = cloud.url.rpartition(":")[2]
        with pytest.raises(ConfigError, match=f"cannot listen on server.host=127.0.0.1 server.port={port}"):
            async with midcut.Cloud(f"server.port={port}", models=[net]):
                pass
