"""W3C trace context: what is valid is passed on, everything else is ignored as the recommendation says."""

from __future__ import annotations

import asyncio

import pytest
import torch

from midcut.errors import CloudError
from midcut.types import TailRequest
from midcut.wire.trace_context import TraceContext, passing_on, read_trace_context, trace_headers
from midcut_transports.http import HttpTransport

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "parent",
    [
        PARENT,
        f"00-{TRACE}-b7ad6b7169203331-00",
        f"cc-{TRACE}-b7ad6b7169203331-01",
        f"cc-{TRACE}-b7ad6b7169203331-01-more",
    ],
)
def test_valid_parents_are_passed_on_also_of_later_versions(parent):
    assert read_trace_context([parent]) == TraceContext(parent)


@pytest.mark.parametrize(
    "parents",
    [
        [],
        [""],
        ["nonsense"],
        [PARENT, PARENT],
        [PARENT.upper()],
        [f"{PARENT}-more"],  # version 00 has no more
        [PARENT[:-1]],
        [f"ff{PARENT[2:]}"],
        [f"cc{PARENT[2:]}.more"],
        [f"00-{'0' * 32}-b7ad6b7169203331-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE}-b7ad6b7169203331-0\u0661"],
        [f"cc{PARENT[2:]}-{'x' * 600}"],
    ],
)
def test_invalid_parents_are_ignored_with_their_state(parents):
    assert read_trace_context(parents, ["a=1"]) is None


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([], ""),
        (["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (["a=1 , b=2", "c=3,,"], "a=1,b=2,c=3"),
        (["fw529a3039@dt=FfkAAAA"], "fw529a3039@dt=FfkAAAA"),
        (["a=1,a=2"], ""),
        (["A=1"], ""),
        (["a=b=c"], ""),
        (["a"], ""),
        (["a=\r\nX: y"], ""),
        ([",".join(f"k{number}=1" for number in range(33))], ""),
        ([f"a={'x' * 600}"], ""),
    ],
)
def test_a_state_is_joined_and_an_invalid_one_is_dropped(states, state):
    assert read_trace_context([PARENT], states) == TraceContext(PARENT, state)


async def test_a_request_to_the_cloud_has_the_headers_of_the_request_that_it_is_for():
    heads = []

    async def note(reader, writer):
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    transport = HttpTransport(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 5.0, 5.0)
    await transport.open()
    for context in (None, TraceContext(PARENT, "a=1")):
        with passing_on(context), pytest.raises(CloudError):
            await transport.infer(TailRequest("m", 1, "f", [torch.zeros(3)], "r"))
    await transport.close()
    server.close()
    assert "traceparent" not in heads[0]
    assert f"\r\ntraceparent: {PARENT}\r\ntracestate: a=1\r\n" in heads[-1]
    assert trace_headers() == ""
