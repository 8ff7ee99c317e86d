"""A request and its reply to the byte: peers of another version, and other vendors', rely on them."""

from __future__ import annotations

import asyncio
import re

import pytest
import torch
from aiohttp import web

from midcut.config.settings import ServerSettings
from midcut.errors import CloudRefusedError
from midcut.serving import make_runner, message_response
from midcut.types import Cut, CutTable, TailRequest, ValueSpec
from midcut.wire.body import Body
from midcut.wire.oip import ReplyParameters
from midcut.wire.oip_read import read_infer
from midcut.wire.oip_tensors import encode_reply
from midcut_transports.http import HttpTransport

PLAIN, PERMUTED = torch.tensor([1.0, -2.0]), torch.arange(4, dtype=torch.uint8).reshape(2, 2).t()
EXPECTED = {
    "raw": (
        b"POST /v2/models/m%40x/infer HTTP/1.1\r\nHost: ADDRESS\r\nX-Request-Id: r1\r\n"
        b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: 370\r\n"
        b"Midcut-Checksum: f6a228a8\r\nContent-Length: 382\r\n\r\n"
        b'{"inputs":[{"name":"a","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}},'
        b'{"name":"b","shape":[2,2],"datatype":"UINT8","parameters":{"binary_data_size":4,"dim_order":"1,0"}},'
        b'{"name":"n","shape":[1],"datatype":"INT64","parameters":{"int":true},"data":[7]}],"id":"r1",'
        b'"parameters":{"binary_data_output":true,"cut":3,"fingerprint":"g-w","timeout":10000000}}'
        b"\x00\x00\x80?\x00\x00\x00\xc0\x00\x01\x02\x03"
    ),
    "base64": (
        b"POST /v1/infer HTTP/1.1\r\nHost: ADDRESS\r\nX-Request-Id: r1\r\n"
        b"Content-Type: application/json\r\nMidcut-Checksum: 669922d7\r\nContent-Length: 213\r\n\r\n"
        b'{"model":"m@x","cut":3,"fingerprint":"g-w","request_id":"r1","values":['
        b'{"dtype":"float32","shape":[2],"dim_order":null,"data":"AACAPwAAAMA="},'
        b'{"dtype":"uint8","shape":[2,2],"dim_order":[1,0],"data":"AAECAw=="},7]}'
    ),
    "reply": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nInference-Header-Content-Length: 368\r\n"
        b"Content-Length: 380\r\nDate: DATE\r\nServer: midcut\r\nConnection: close\r\n\r\n"
        b'{"model_name":"m@x","outputs":[{"name":"y","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}},'
        b'{"name":"z","shape":[2,2],"datatype":"UINT8","parameters":{"binary_data_size":4}},'
        b'{"name":"k","shape":[1],"datatype":"INT64","parameters":{"int":true},"data":[7]}],"model_version":"g-w",'
        b'"id":"r1","parameters":{"parse_us":1,"server_us":20,"crc32":"06db9c23"}}'
        b"\x00\x00\x80?\x00\x00\x00\xc0\x00\x02\x01\x03"
    ),
}


async def sent(codec):
    """Everything that the transport writes for one request."""
    received = bytearray()

    async def refuse(reader, writer):
        received.extend(await reader.readuntil(b"\r\n\r\n"))
        received.extend(await reader.readexactly(int(re.search(rb"Content-Length: (\d+)\r\n\r\n", received)[1])))
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = HttpTransport(f"http://{address}", 10.0, 5.0)
    await transport.open()
    with pytest.raises(CloudRefusedError):
        await transport.infer(TailRequest("m@x", 3, "g-w", [PLAIN, PERMUTED, 7], "r1", codec, names=["a", "b", "n"]))
    await transport.close()
    server.close()
    return bytes(received).replace(address.encode(), b"ADDRESS")


async def replied(request):
    """Everything that a server writes for the reply to a binary request; the date, and the times, are made up."""
    header, _, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"Inference-Header-Content-Length: (\d+)", header)[1].decode()
    specs = (ValueSpec("y", "float32", (2,)), ValueSpec("z", "uint8", (2, 2)), ValueSpec("k", "int"))
    table = CutTable("m@x", "fx", (), (Cut(0, 0, ends_module=False, values=specs),), "g", "w")
    call = read_infer(Body([body]), length)
    message = encode_reply(call, table, {"y": PLAIN, "z": PERMUTED, "k": 7}, ReplyParameters(parse_us=1, server_us=20))

    async def answer(_):
        return message_response(message)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = make_runner(app, ServerSettings())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0])
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    received = await reader.read()
    writer.close()
    await runner.cleanup()
    return re.sub(rb"Date: [^\r]*", b"Date: DATE", received)


@pytest.mark.parametrize("codec", ["raw", "base64"])
async def test_a_request_has_these_bytes(codec):
    assert await sent(codec) == EXPECTED[codec]


async def test_a_reply_has_these_bytes():
    assert await replied(await sent("raw")) == EXPECTED["reply"]
