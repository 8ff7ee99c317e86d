#!/usr/bin/env python3
"""What the wire costs: requests of four sizes over loopback, relative to a bare aiohttp echo of the same bytes.

Client and server are two processes; the variants take turns in every round, each time in another order. "Bare" is
aiohttp's client and server without midcut: the echo returns all bytes of the request, the sink 4 kB, as midcut does.
Everything runs on midcut's event loop (uvloop where it is installed), except the asyncio echo, which has asyncio's own
loop on both sides, and a server process; ratios are given to both echoes. "Wire" is midcut's client, and parsing,
checks and encoding on the server; "cloud" adds access control, metrics, the queue and a worker thread; "unchecked" is
the wire without the checksum of requests, whose cost is the ratio of the two. Then AlexNet, cut after its last pooling
layer, relative to the unsplit model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import numpy as np
import torch
from aiohttp import web
from common.engines import FixedPlan, load
from common.figures import quartiles, text_table
from common.options import at_least
from common.processes import running, server
from rich.console import Console
from torch import nn

from midcut.cloud import HostedModels, make_app
from midcut.cloud.assembly import tail_threads
from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.config.registry import registry
from midcut.config.settings import CloudSettings, CutSettings, ServerSettings
from midcut.edge.assembly import assemble_fixed
from midcut.graph import partition
from midcut.graph.segments import Segments
from midcut.serving import body_budget, event_loop, message_response, read_chunks, stop_signals
from midcut.types import LoadedModel, TailRequest
from midcut.wire import oip, oip_read
from midcut.wire.oip_tensors import encode_reply
from midcut_executors.native import Native
from midcut_transports.http import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from PIL import Image

    from midcut.graph import Partition
    from midcut.types import TailReply

    Variant = tuple[Callable[[], Awaitable[tuple[float, Any]]], Callable[[Any], bool]]

BODIES: Final = {"4 kB": 4_000, "200 kB": 200_000, "800 kB": 800_000, "3 MB": 3_000_000}
REPLY: Final = 1000  # floats that a model returns
WARM_UP: Final = 20
UNCHECKED: Final = "/unchecked"  # before the path
POOLED: Final = "features.12"  # AlexNet's last pooling layer


class FirstValues(nn.Module):
    """Next to no computation: returns the first thousand numbers of its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :REPLY]


def no_images(_: Image.Image) -> torch.Tensor:
    raise NotImplementedError


def partitions() -> dict[str, Partition]:
    """A model for each size of body."""
    models = {}
    for name, size in BODIES.items():
        torch.manual_seed(1)
        model = LoadedModel(name.replace(" ", ""), FirstValues().eval(), (torch.randn(1, size // 4),), no_images)
        models[name] = partition(model, CutSettings())
    return models


class Unchecked(oip.RequestChecksum):
    """No checksum at all, on either side."""

    def add(self, piece: bytes | bytearray | memoryview) -> None:
        """Leave the piece out."""


@contextmanager
def unchecked() -> Iterator[None]:
    """Requests are sent without a checksum meanwhile."""
    checked, oip.RequestChecksum = oip.RequestChecksum, Unchecked  # type: ignore[misc]
    try:
        yield
    finally:
        oip.RequestChecksum = checked  # type: ignore[misc]


async def bare_echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), content_type="application/octet-stream")


async def bare_sink(request: web.Request) -> web.Response:
    body = await request.read()
    return web.Response(body=body[: REPLY * 4], content_type="application/octet-stream")


def bare_app() -> web.Application:
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/echo", bare_echo)
    app.router.add_post("/sink", bare_sink)
    return app


def serve_echo() -> None:
    """The bare routes alone, on asyncio's own loop."""

    async def serve() -> None:
        print(await listen(bare_app()), flush=True)
        await stop_signals().wait()

    asyncio.run(serve())


def serve_all() -> None:
    """The server process: bare routes, the wire alone beside them, and midcut's cloud on a port of its own."""
    hosted = HostedModels({model.table.model: model for model in partitions().values()})

    async def wire_alone(request: web.Request) -> web.StreamResponse:
        """Read, check and answer a request as the cloud does, without what the cloud does around that."""
        model = hosted.resolve_path(request.match_info["model"])
        body = await read_chunks(request, hosted.body_limit_bytes, 10.0)
        call = oip_read.read_infer(body, request.headers.get(oip.HEADER_LENGTH))
        _, _, (x,) = hosted.read_request(model, call)
        outputs = {} if isinstance(x, int) else {model.table.cuts[-1].values[0].name: x[:, :REPLY]}
        return message_response(
            encode_reply(call, model.table, outputs, oip.ReplyParameters(compute_us=0, server_us=0))
        )

    async def wire_unchecked(request: web.Request) -> web.StreamResponse:
        with unchecked():  # the client sends one request at a time
            return await wire_alone(request)

    async def serve() -> None:
        bare = bare_app()
        bare[body_budget.BODIES] = body_budget.BodyBudget(2**40)  # nothing here gives its share back
        bare.router.add_post(oip.infer_path("{model}"), wire_alone)
        bare.router.add_post(UNCHECKED + oip.infer_path("{model}"), wire_unchecked)
        with tail_threads(CloudSettings()) as pool:
            cloud = make_app(hosted, Segments(Native()), pool, ServerSettings(), CloudSettings())
            print(await listen(bare), await listen(cloud), flush=True)
            await stop_signals().wait()

    with torch.no_grad():  # as `midcut cloud` does
        event_loop.run(serve())


async def listen(app: web.Application) -> str:
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


class AsyncioEcho:
    """A client of the bare routes on a thread with asyncio's own loop; times are taken there."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._session = asyncio.run_coroutine_threadsafe(self._open(url), self._loop).result(10.0)

    async def post(self, data: bytes) -> tuple[float, bytes]:
        """Seconds, and the body of the answer."""
        answer = asyncio.run_coroutine_threadsafe(timed(lambda: post(self._session, "/echo", data)), self._loop)
        return await asyncio.wrap_future(answer)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._session.close(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60.0)

    @staticmethod
    async def _open(url: str) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(url)


async def post(session: aiohttp.ClientSession, path: str, data: bytes) -> bytes:
    async with session.post(path, data=data) as response:
        return await response.read()


async def timed(ask: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """Seconds, and the answer."""
    started = time.perf_counter()
    answer = await ask()
    return time.perf_counter() - started, answer


async def measure_bodies(urls: list[str], echo_url: str, rounds: int) -> list[dict[str, Any]]:
    registry()
    codecs = build_each(Kind.CODEC, compose("edge", ["codec=[raw,base64]"]).codec)
    transports = [HttpTransport(url, 10.0, 5.0, codecs) for url in (*urls, urls[0] + UNCHECKED)]
    for transport in transports:
        await transport.open()
    echo = AsyncioEcho(echo_url)
    try:
        async with aiohttp.ClientSession(urls[0]) as session:
            return [
                await measure_body(name, parts, session, echo, transports, rounds)
                for name, parts in partitions().items()
            ]
    finally:
        echo.close()
        for transport in transports:
            await transport.close()


async def measure_body(
    name: str,
    parts: Partition,
    session: aiohttp.ClientSession,
    echo: AsyncioEcho,
    transports: list[HttpTransport],
    rounds: int,
) -> dict[str, Any]:
    wire, cloud, unchecked_wire = transports
    x = torch.randn(1, BODIES[name] // 4)
    data = x.numpy().tobytes()
    sent: dict[str, int] = {}

    def bare(path: str, expected: bytes) -> Variant:
        return lambda: timed(lambda: post(session, path, data)), lambda answer: bool(answer == expected)

    def midcut(transport: HttpTransport, codec: str) -> Variant:
        names = [spec.name for spec in parts.table.cuts[0].values]
        request = TailRequest(parts.table.model, 0, parts.table.fingerprint, [x], "0" * 32, codec, names=names)

        def is_right(reply: TailReply) -> bool:
            sent[codec] = reply.sent_bytes
            (output,) = reply.values
            return isinstance(output, torch.Tensor) and torch.equal(output, x[:, :REPLY])

        async def ask() -> tuple[float, TailReply]:
            with unchecked() if transport is unchecked_wire else nullcontext():
                return await timed(lambda: transport.infer(request))

        return ask, is_right

    variants: dict[str, Variant] = {
        "asyncio echo": (lambda: echo.post(data), lambda answer: bool(answer == data)),
        "bare echo": bare("/echo", data),
        "bare sink": bare("/sink", data[: REPLY * 4]),
        "v2 binary, wire": midcut(wire, "raw"),
        "v2 binary, unchecked": midcut(unchecked_wire, "raw"),
        "v2 binary, cloud": midcut(cloud, "raw"),
        "paper's JSON, cloud": midcut(cloud, "base64"),
    }
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    draw = random.Random(1)
    for round_ in range(rounds + WARM_UP):
        # A process that has just been asked is faster, as the processor's caches are its own.
        for variant, (ask, is_right) in draw.sample(list(variants.items()), len(variants)):
            latency_s, answer = await ask()
            if not is_right(answer):
                raise SystemExit(f"{variant}: a wrong answer")
            if round_ >= WARM_UP:
                seconds[variant].append(latency_s)
    base, on_asyncio = np.array(seconds["bare echo"]), np.array(seconds["asyncio echo"])
    return {
        "body": name,
        "rounds": rounds,
        "median_s": {variant: float(np.median(values)) for variant, values in seconds.items()},
        "ratio": {variant: quartiles(np.array(values) / base) for variant, values in seconds.items()},
        "checksum": quartiles(np.array(seconds["v2 binary, wire"]) / np.array(seconds["v2 binary, unchecked"])),
        "ratio_to_asyncio": {variant: quartiles(np.array(values) / on_asyncio) for variant, values in seconds.items()},
        "bytes_ratio": {
            "v2 binary, wire": sent["raw"] / len(data),
            "v2 binary, cloud": sent["raw"] / len(data),
            "paper's JSON, cloud": sent["base64"] / len(data),
        },
    }


async def measure_alexnet(url: str, rounds: int) -> dict[str, Any]:
    config = compose("edge", ["model=alexnet", f"cloud_url={url}"])
    model = load(config)
    parts = partition(model, CutSettings())
    cut = 1 + max(index for index, node in enumerate(parts.table.nodes) if node.module == POOLED)
    edge = assemble_fixed(config, parts, FixedPlan(cut))
    with torch.inference_mode():
        expected = model.module(*model.example)
    await edge.start()
    whole, split = [], []
    try:
        for _ in range(rounds + WARM_UP):
            with torch.inference_mode():
                started = time.perf_counter()
                model.module(*model.example)
                whole.append(time.perf_counter() - started)
            started = time.perf_counter()
            result = await edge.infer(model.example)
            split.append(time.perf_counter() - started)
            if result.finished_by != "cloud" or not torch.equal(result.output, expected):
                raise SystemExit(f"the split AlexNet gave a wrong answer or none from the cloud: {result.fallback}")
    finally:
        await edge.close()
    whole, split = whole[WARM_UP:], split[WARM_UP:]
    return {
        "rounds": rounds,
        "cut": cut,
        "median_s": {"unsplit": float(np.median(whole)), "split": float(np.median(split))},
        "ratio": quartiles(np.array(split) / np.array(whole)),
        "ratio_of_medians": float(np.median(split) / np.median(whole)),
    }


def report(bodies: list[dict[str, Any]], split: dict[str, Any] | None) -> None:
    table = text_table(
        "one request over loopback, relative to the echoes in the same round: median (quartiles)",
        ("body", "variant", "median ms", "to bare echo", "to asyncio echo", "bytes sent / tensor's"),
        left=("body", "variant"),
    )
    for body in bodies:
        for variant, to_bare in body["ratio"].items():
            sent = body["bytes_ratio"].get(variant)
            table.add_row(
                body["body"],
                variant,
                f"{body['median_s'][variant] * 1e3:.2f}",
                f"{to_bare:.2f}",
                f"{body['ratio_to_asyncio'][variant]:.2f}",
                f"{sent:.4f}" if sent else "",
            )
    console = Console(width=110)
    console.print(table)
    ratios = ", ".join(f"{body['checksum']:.3f} at {body['body']}" for body in bodies)
    console.print(f"with the checksum of requests, relative to without: {ratios}")
    if split:
        console.print(
            f"AlexNet cut after its last pooling layer (cut {split['cut']}), relative to the unsplit model: "
            f"{split['ratio']:.3f}, medians {split['median_s']['split'] * 1e3:.2f} and "
            f"{split['median_s']['unsplit'] * 1e3:.2f} ms, {split['rounds']} rounds, every output bit-identical"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(1), default=300, help="turns of each variant")
    parser.add_argument("--no-alexnet", action="store_true", help="leave AlexNet out")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--serve", choices=("all", "echo"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.serve:
        serve_echo() if options.serve == "echo" else serve_all()
        return 0
    split = None
    with tempfile.TemporaryDirectory() as folder:
        log, command = Path(folder) / "server.log", [sys.executable, __file__, "--serve"]
        with ExitStack() as stack:
            urls, echo = (stack.enter_context(running([*command, kind], log, "http.*"))[0] for kind in ("all", "echo"))
            bodies = event_loop.run(measure_bodies(urls.split(), echo, options.rounds))
        if not options.no_alexnet:
            with server("cloud", Path(folder) / "cloud.log", "model=alexnet", "server.port=0") as url:
                split = event_loop.run(measure_alexnet(url, options.rounds))
    report(bodies, split)
    if options.json:
        options.json.write_text(json.dumps({"bodies": bodies, "alexnet": split}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
