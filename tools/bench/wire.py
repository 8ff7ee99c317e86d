#!/usr/bin/env python3
"""What the wire costs: requests of four sizes over loopback, relative to a bare aiohttp echo of the same bytes.

Client and server are two processes; the variants take turns in every round. The reply is 4 kB, but the echo's, which
is the request's bytes. Bare is aiohttp's client and server with nothing of midcut's; the sink takes the bytes and
answers 4 kB. Everything runs on the loop that midcut runs on (uvloop, where there is one), but the asyncio echo, which
has asyncio's own on both sides; ratios are given to both. The wire is midcut's client, and on the server parsing,
checks and encoding; the cloud adds what it does around that: access, metrics, the queue, a worker thread. Then AlexNet,
cut after its last pooling layer, relative to the unsplit model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import numpy as np
import torch
from aiohttp import web
from common.engines import compose_edge, engine, load
from common.processes import server
from rich.console import Console
from rich.table import Table
from torch import nn

from midcut.cloud import HostedModels, make_app
from midcut.cloud.assembly import tail_threads
from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.registry import registry
from midcut.config.settings import CloudSettings, CutSettings, ServerSettings
from midcut.graph import partition
from midcut.serving import event_loop, message_response, read_chunks, stop_signals
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
REPLY: Final = 1000  # floats
WARM_UP: Final = 20
POOLED: Final = "features.12"  # AlexNet's last pooling layer


class Few(nn.Module):
    """Next to no computation: the first thousand numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :REPLY]


def no_images(_: Image.Image) -> torch.Tensor:
    raise NotImplementedError


def partitions() -> dict[str, Partition]:
    """A model for each size of body."""
    made = {}
    for name, size in BODIES.items():
        torch.manual_seed(1)
        model = LoadedModel(name.replace(" ", ""), Few().eval(), (torch.randn(1, size // 4),), no_images)
        made[name] = partition(model, CutSettings())
    return made


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

    async def go() -> None:
        print(await listen(bare_app()), flush=True)
        await stop_signals().wait()

    asyncio.run(go())


def serve_all() -> None:
    """The server process: bare routes, the wire alone beside them, and midcut's cloud on a port of its own."""
    hosted = HostedModels({one.table.model: one for one in partitions().values()})

    async def wire_alone(request: web.Request) -> web.StreamResponse:
        """Everything that is done to a request and a reply, and nothing that is done around them."""
        meant = hosted.resolve(request.match_info["model"])
        body = await read_chunks(request, hosted.body_limit_bytes, 10.0)
        call = oip_read.read_infer(body, request.headers.get(oip.HEADER_LENGTH))
        _, _, (x,) = hosted.read_request(meant, call)
        made = {} if isinstance(x, int) else {meant.table.cuts[-1].values[0].name: x[:, :REPLY]}
        return message_response(encode_reply(call, meant.table, made, {"compute_us": 0, "server_us": 0}))

    async def go() -> None:
        bare = bare_app()
        bare.router.add_post(oip.infer_path("{model}"), wire_alone)
        with tail_threads(CloudSettings()) as pool:
            cloud = make_app(hosted, Native(), pool, ServerSettings(), CloudSettings())
            print(await listen(bare), await listen(cloud), flush=True)
            await stop_signals().wait()

    event_loop.run(go())


async def listen(app: web.Application) -> str:
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


@contextmanager
def server_process(log: Path, what: str) -> Iterator[list[str]]:
    """Addresses of the bare routes, and of midcut's cloud where all are served."""
    command = [sys.executable, __file__, "--serve", what]
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        line = process.stdout.readline().split() if process.stdout else []
        if not line:
            raise SystemExit(f"the server did not start: {log.read_text()[-2000:]}")
        yield line
    finally:
        process.terminate()
        process.wait(15)


class AsyncioEcho:
    """A client of the bare routes on a thread with asyncio's own loop; times are taken there."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._session = asyncio.run_coroutine_threadsafe(self._open(url), self._loop).result(10.0)

    async def post(self, data: bytes) -> tuple[float, bytes]:
        """Seconds, and what came back."""
        asked = asyncio.run_coroutine_threadsafe(timed(lambda: posted(self._session, "/echo", data)), self._loop)
        return await asyncio.wrap_future(asked)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._session.close(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)

    @staticmethod
    async def _open(url: str) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(url)


async def posted(session: aiohttp.ClientSession, path: str, data: bytes) -> bytes:
    async with session.post(path, data=data) as response:
        return await response.read()


async def timed(ask: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """Seconds, and the answer."""
    started = time.perf_counter()
    answer = await ask()
    return time.perf_counter() - started, answer


async def bodies(urls: list[str], echo_url: str, rounds: int) -> list[dict[str, Any]]:
    registry()
    codecs = build_each(Kind.CODEC, compose_edge("codec=[raw,base64]").codec)
    wire, cloud = (HttpTransport(url, 10.0, 5.0, codecs) for url in urls)
    await wire.open()
    await cloud.open()
    echo = AsyncioEcho(echo_url)
    try:
        async with aiohttp.ClientSession(urls[0]) as session:
            return [await one_size(name, one, session, echo, wire, cloud, rounds) for name, one in partitions().items()]
    finally:
        echo.close()
        await wire.close()
        await cloud.close()


async def one_size(
    name: str,
    cut: Partition,
    session: aiohttp.ClientSession,
    echo: AsyncioEcho,
    wire: HttpTransport,
    cloud: HttpTransport,
    rounds: int,
) -> dict[str, Any]:
    x = torch.randn(1, BODIES[name] // 4)
    data = x.numpy().tobytes()
    sent: dict[str, int] = {}

    def bare(path: str, expected: bytes) -> Variant:
        return lambda: timed(lambda: posted(session, path, data)), lambda answer: bool(answer == expected)

    def ours(transport: HttpTransport, codec: str) -> Variant:
        names = [spec.name for spec in cut.table.cuts[0].values]
        request = TailRequest(cut.table.model, 0, cut.table.fingerprint, [x], "0" * 32, codec, names=names)

        def right(reply: TailReply) -> bool:
            sent[codec] = reply.sent_bytes
            (output,) = reply.values
            return isinstance(output, torch.Tensor) and torch.equal(output, x[:, :REPLY])

        return lambda: timed(lambda: transport.infer(request)), right

    variants: dict[str, Variant] = {
        "asyncio echo": (lambda: echo.post(data), lambda answer: bool(answer == data)),
        "bare echo": bare("/echo", data),
        "bare sink": bare("/sink", data[: REPLY * 4]),
        "v2 binary, wire": ours(wire, "raw"),
        "v2 binary, cloud": ours(cloud, "raw"),
        "paper's JSON, cloud": ours(cloud, "base64"),
    }
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    for round_ in range(rounds + WARM_UP):
        for variant, (go, right) in variants.items():
            took_s, answer = await go()
            if not right(answer):
                raise SystemExit(f"{variant}: the answer is not what it should be")
            if round_ >= WARM_UP:
                seconds[variant].append(took_s)
    base, on_asyncio = np.array(seconds["bare echo"]), np.array(seconds["asyncio echo"])
    return {
        "body": name,
        "rounds": rounds,
        "median_s": {variant: float(np.median(values)) for variant, values in seconds.items()},
        "ratio": {variant: _spread(np.array(values) / base) for variant, values in seconds.items()},
        "ratio_to_asyncio": {variant: _spread(np.array(values) / on_asyncio) for variant, values in seconds.items()},
        "bytes_ratio": {
            "v2 binary, wire": sent["raw"] / len(data),
            "v2 binary, cloud": sent["raw"] / len(data),
            "paper's JSON, cloud": sent["base64"] / len(data),
        },
    }


async def alexnet(url: str, rounds: int) -> dict[str, Any]:
    config = compose_edge("model=alexnet", f"cloud_url={url}")
    model = load(config)
    cut = partition(model, CutSettings())
    after = max(index for index, node in enumerate(cut.table.nodes) if node.module == POOLED)
    edge, held = engine(config, cut)
    held.hold(after + 1)
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
                raise SystemExit(f"the split AlexNet does not answer as it should: {result.fallback}")
    finally:
        await edge.close()
    whole, split = whole[WARM_UP:], split[WARM_UP:]
    return {
        "rounds": rounds,
        "cut": after + 1,
        "median_s": {"unsplit": float(np.median(whole)), "split": float(np.median(split))},
        "ratio": _spread(np.array(split) / np.array(whole)),
        "ratio_of_medians": float(np.median(split) / np.median(whole)),
    }


def _spread(ratios: Any) -> list[float]:
    """First quartile, median, third quartile of the ratios within one round."""
    return [float(value) for value in np.quantile(ratios, (0.25, 0.5, 0.75))]


def report(found: list[dict[str, Any]], split: dict[str, Any] | None) -> None:
    table = Table(title="one request over loopback, relative to the echoes in the same round: median (quartiles)")
    for column in ("body", "variant", "median ms", "to bare echo", "to asyncio echo", "bytes sent / tensor's"):
        table.add_column(column, justify="left" if column in ("body", "variant") else "right")
    for one in found:
        for variant, to_bare in one["ratio"].items():
            sent = one["bytes_ratio"].get(variant)
            table.add_row(
                one["body"],
                variant,
                f"{one['median_s'][variant] * 1e3:.2f}",
                *(f"{m:.2f} ({low:.2f}-{high:.2f})" for low, m, high in (to_bare, one["ratio_to_asyncio"][variant])),
                f"{sent:.4f}" if sent else "",
            )
    console = Console(width=110)
    console.print(table)
    if split:
        low, middle, high = split["ratio"]
        console.print(
            f"AlexNet cut after its last pooling layer (cut {split['cut']}), relative to the unsplit model: "
            f"{middle:.3f} ({low:.3f} to {high:.3f}), medians {split['median_s']['split'] * 1e3:.2f} and "
            f"{split['median_s']['unsplit'] * 1e3:.2f} ms, {split['rounds']} rounds, every output bit-identical"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300, help="turns of each variant")
    parser.add_argument("--no-alexnet", action="store_true", help="leave AlexNet out")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--serve", choices=("all", "echo"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.serve:
        serve_all() if options.serve == "all" else serve_echo()
        return 0
    split = None
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with server_process(log, "all") as urls, server_process(log, "echo") as (echo_url,):
            found = event_loop.run(bodies(urls, echo_url, options.rounds))
        if not options.no_alexnet:
            with server("cloud", Path(folder) / "cloud.log", "model=alexnet", "server.port=0") as url:
                split = event_loop.run(alexnet(url, options.rounds))
    report(found, split)
    if options.json:
        options.json.write_text(json.dumps({"bodies": found, "alexnet": split}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
