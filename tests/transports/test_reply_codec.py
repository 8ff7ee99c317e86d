"""Replies encoded by a codec: asked for by a setting or a parameter, the same values, fewer bytes."""

from __future__ import annotations

import asyncio

import pytest
import torch

from midcut.component import Kind
from midcut.config.build import build
from midcut.config.registry import registry
from midcut.errors import CloudRefusedError, ConfigError
from midcut.types import TailRequest
from midcut_transports.http import http_transport


def codec(name):
    return build(Kind.CODEC, registry().offers[Kind.CODEC, name].node, name=name)


def infer(url, tiny, tiny_model, name, cut=4):
    async def go():
        transport = http_transport(
            url=url, timeout_s=60.0, connect_timeout_s=60.0, codecs={name: codec(name)}, reply_codec=name
        )
        await transport.open()
        try:
            with torch.inference_mode():
                values = tiny.head(cut, tiny_model.example)
            request = TailRequest("tiny", cut, tiny.table.fingerprint, values, "r")
            return await transport.infer(request)
        finally:
            await transport.close()

    return asyncio.run(go())


@pytest.mark.parametrize("name", ["zstd", "fp16"])
def test_a_reply_is_encoded_as_asked(running_cloud, tiny, tiny_model, name):
    with running_cloud(codecs={name: codec(name)}) as url:
        (got,) = infer(url, tiny, tiny_model, name).values
    with torch.inference_mode():
        wanted = tiny_model.module(*tiny_model.example)
    assert got.dtype == wanted.dtype
    assert torch.equal(got, wanted) if name == "zstd" else torch.equal(got, wanted.half().float())


def test_a_codec_that_the_cloud_does_not_take_is_refused(cloud_url, tiny, tiny_model):
    with pytest.raises(CloudRefusedError, match="codec 'zstd' is not accepted here"):
        infer(cloud_url, tiny, tiny_model, "zstd")


def test_a_codec_that_the_edge_does_not_have_is_named():
    with pytest.raises(ConfigError, match=r"transport.reply_codec=zstd is not among the edge's codecs"):
        http_transport(url="http://127.0.0.1:1", timeout_s=1.0, connect_timeout_s=1.0, reply_codec="zstd")
