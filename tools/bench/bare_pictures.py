"""A bare server that takes the file of a picture and runs the whole model in ONNX Runtime.

    python tools/bench/bare_pictures.py efficientnet_lite0

It decodes and preprocesses as midcut does, in one process with one thread of computation, and answers with the outputs'
bytes: what one would write without midcut.
"""

from __future__ import annotations

import argparse
import asyncio

import numpy as np
import torch
from aiohttp import web
from common.engines import load

from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.graph import partition
from midcut.serving.images import model_input
from midcut_executors.choosing import by_name


async def main(name: str, host: str) -> None:
    """Serve until the process is ended."""
    torch.set_num_threads(1)
    model = load(compose("cloud", [f"model={name}", "cuts.verify=false"]))
    parts = partition(model, CutSettings(verify=False))
    whole = by_name("onnxruntime").prepare(parts, 0, parts.table.last)

    def answer(data: bytes) -> bytes:
        values, _ = whole.run((model_input(model, data),))
        return np.ascontiguousarray(values[0].numpy()).tobytes()

    async def infer(request: web.Request) -> web.Response:
        return web.Response(body=await asyncio.to_thread(answer, await request.read()))

    app = web.Application(client_max_size=32_000_000)
    app.router.add_post("/infer", infer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    print(f"bare server ready on http://{host}:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name of a model of midcut")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    options = parser.parse_args()
    asyncio.run(main(options.model, options.host))
