from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import torch

from midcut import wire
from midcut.types import TailRequest
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


def test_predicted_sizes_are_the_bytes_on_the_socket(tiny, tiny_model, cloud_url):
    tap = Tap(int(cloud_url.rsplit(":", 1)[1]))

    async def measure(cut):
        transport = HttpTransport(f"http://127.0.0.1:{tap.port}", 10.0, 5.0)
        await transport.open()
        tap.up = tap.down = 0
        with torch.inference_mode():
            values = tiny.head(cut, tiny_model.example)
        reply = await transport.infer(TailRequest("tiny", cut, tiny.table.fingerprint, values, "0" * 32))
        await transport.close()
        return reply

    for cut in tiny.legal[:-1]:
        reply = asyncio.run(measure(cut))
        # The address has a five-digit port; a permuted payload names its dim order in place of null.
        assert 0 <= tap.up - wire.request_bytes(tiny.table, cut) <= 6
        assert abs(tap.down - wire.reply_bytes(tiny.table)) <= 6
        assert (reply.sent_bytes, reply.received_bytes) == (tap.up, tap.down)
    tap.close()


def test_base64_makes_four_bytes_of_three(tiny):
    # Cut 0 sends (1, 3, 16, 16) float32: 3072 bytes, 4096 characters. Head and JSON around it stay under 450.
    assert 4096 < wire.request_bytes(tiny.table, 0) < 4096 + 450


def test_the_body_limit_takes_every_cut_and_not_much_more(tiny):
    largest = max(wire.request_bytes(tiny.table, cut) for cut in range(tiny.table.last + 1))
    assert largest <= wire.body_limit([tiny.table]) <= largest + 64 * 1024
    assert wire.body_limit([tiny.table], max_batch=4) >= 4 * (largest - 200)
