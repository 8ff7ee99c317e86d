from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest
import torch

from midcut import wire
from midcut.config.settings import CutSettings
from midcut.edge.measured_codecs import measure_codecs
from midcut.graph import partition
from midcut.profiles import Role, find_profile
from midcut.types import LoadedModel, TailRequest
from midcut_codecs.config import Base64Config, Float16Config, Int8Config, ZstdConfig
from midcut_codecs.exact import Base64, Raw
from midcut_codecs.packed import Zstd
from midcut_codecs.rounded import Float16, Int8
from midcut_transports.http import HttpTransport


class Tap:
    """A TCP relay that counts what passes, both ways."""

    def __init__(self, port):
        self.up = self.down = 0
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._relay, args=(client, server, "up"), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, "down"), daemon=True).start()

    def _relay(self, source, sink, name):
        with sink, contextlib.suppress(OSError):  # either end may hang up first
            while data := source.recv(65536):
                setattr(self, name, getattr(self, name) + len(data))
                sink.sendall(data)

    def close(self):
        self._listener.close()


CODECS = {
    "raw": Raw(name="raw"),
    "base64": Base64(name="base64", **vars(Base64Config())),
    "fp16": Float16(name="fp16", **vars(Float16Config())),
    "int8": Int8(name="int8", **vars(Int8Config())),
    "zstd": Zstd(name="zstd", **vars(ZstdConfig())),
}


@pytest.fixture(scope="module")
def tapped(running_cloud, two_way):
    with running_cloud(two_way, codecs=CODECS) as url:
        tap = Tap(int(url.rsplit(":", 1)[1]))
        yield tap
        tap.close()


@pytest.fixture(scope="module")
def two_way():
    """A permuted payload, a plain int that crosses, class numbers that no codec rounds."""

    class TwoWay(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x, ids):
            batch = x.shape[0]
            x = self.first(x).relu().permute(0, 2, 3, 1)
            return x.reshape(batch, -1), ids + 1

    example = (torch.randn(1, 3, 16, 16), torch.arange(40).reshape(1, 40))
    return partition(LoadedModel("two-way", TwoWay().eval(), example, lambda image: image), CutSettings())


async def exchange(tap, model, codec, at, inputs):
    transport = HttpTransport(f"http://127.0.0.1:{tap.port}", 10.0, 5.0, CODECS)
    await transport.open()
    tap.up = tap.down = 0
    with torch.inference_mode():
        values = model.head(at, inputs)
    names = [spec.name for spec in model.table.cuts[at].values]
    fingerprint = model.table.fingerprint
    reply = await transport.infer(TailRequest("two-way", at, fingerprint, values, "0" * 32, codec, names=names))
    await transport.close()
    digits = sum(len(str(value)) - 1 for value in values if isinstance(value, int))
    return reply, sum(not isinstance(value, int) and not value.is_contiguous() for value in values), digits


@pytest.mark.parametrize("name", CODECS)
def test_predicted_sizes_are_the_bytes_on_the_socket(two_way, tapped, name):
    inputs = (torch.randn(1, 3, 16, 16), torch.arange(40).reshape(1, 40))
    codecs = measure_codecs(CODECS, two_way, inputs)
    for at in two_way.legal[:-1]:
        reply, permuted, digits = asyncio.run(exchange(tapped, two_way, name, at, inputs))
        off = tapped.up - wire.request_bytes(two_way.table, at, codecs[name])
        # The address has a five-digit port, ints may have several digits, and a permuted payload names its dim order,
        # the paper's in place of null.
        assert off == 1 + digits + permuted * (5 if name == "base64" else len(',"dim_order":"0,3,1,2"'))
        assert abs(tapped.down - wire.reply_bytes(two_way.table, codecs[name])) <= 12  # digits of the times
        assert (reply.sent_bytes, reply.received_bytes) == (tapped.up, tapped.down)


def test_what_a_payload_grows_by_on_the_wire(tiny):
    # Cut 0 sends (1, 3, 16, 16) float32: 3072 bytes, 4096 characters. Head and JSON around it stay under 500.
    assert 3072 < wire.request_bytes(tiny.table, 0) < 3072 + 500
    assert 4096 < wire.request_bytes(tiny.table, 0, CODECS["base64"]) < 4096 + 500
    assert 1536 < wire.request_bytes(tiny.table, 0, CODECS["fp16"]) < 1536 + 570
    assert 768 + 3 * 8 < wire.request_bytes(tiny.table, 0, CODECS["int8"]) < 768 + 3 * 8 + 570


def test_200_kb_and_more_grow_by_less_than_half_a_percent():
    table = find_profile("pi4", Role.edge, "alexnet").table
    large = [cut for cut in table.cuts[:-1] if cut.payload_bytes >= 200_000]
    assert len(large) > 5
    for cut in large:
        assert 1.0 < wire.request_bytes(table, cut.index) / cut.payload_bytes < 1.005


def test_the_body_limit_takes_every_cut_and_not_much_more(tiny):
    paper = CODECS["base64"]
    largest = max(wire.request_bytes(tiny.table, cut, paper) for cut in range(tiny.table.last + 1))
    assert largest <= wire.body_limit([tiny.table]) <= largest + 64 * 1024
    assert wire.body_limit([tiny.table], max_batch=4) >= 4 * (largest - 200)
