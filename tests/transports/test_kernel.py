"""What the kernel says of a connection, and what of it counts."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
import torch

from midcut.types import TailRequest
from midcut.wire.tcp import tcp_info
from midcut_transports.http import HttpTransport

linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")


@pytest.fixture
def request_at_4(tiny, tiny_model):
    with torch.inference_mode():
        return TailRequest("tiny", 4, tiny.table.fingerprint, tiny.head(4, tiny_model.example), "kernel")


@linux
def test_every_reply_brings_the_kernels_word(cloud_url, request_at_4):
    async def three():
        transport = HttpTransport(cloud_url, 60.0, 60.0)
        await transport.open()
        try:
            return [await transport.infer(request_at_4) for _ in range(3)]
        finally:
            await transport.close()

    replies = asyncio.run(three())
    assert [reply.fresh for reply in replies] == [True, False, False]
    for reply in replies:
        assert 0.0 < reply.tcp.min_rtt_s <= reply.wall_s
        assert reply.tcp.retransmits == 0


@linux
def test_the_rate_of_an_earlier_exchange_is_not_this_ones(cloud_url, request_at_4):
    async def two():
        transport = HttpTransport(cloud_url, 60.0, 60.0)
        await transport.open()
        try:
            await transport.infer(request_at_4)
            (connection,) = transport._pool._idle
            connection._read_tcp_info()
            return connection._read_tcp_info()  # nothing was exchanged in between
        finally:
            await transport.close()

    assert asyncio.run(two()).app_limited


@linux
def test_rates_and_round_trips_are_those_of_the_socket():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            client.sendall(b"ab")
            info = tcp_info(client)
    assert 0.0 < info.min_rtt_s <= 1.0
    assert info.min_rtt_s <= info.rtt_s + 1e-3
    assert info.retransmits == 0


@linux
def test_a_closed_socket_or_another_kind_says_nothing():
    closed = socket.socket()
    closed.close()
    assert tcp_info(closed) is None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert tcp_info(datagrams) is None
    assert tcp_info(None) is None
