"""The same cloud as a Ray Serve deployment: same application, same wire. Needs the extra `ray`.

    python -m midcut.cloud.on_ray --port 8700 --replicas 2 model=alexnet cloud.batch_requests=8
    serve run midcut.cloud.on_ray:build replicas=2 overrides="model=alexnet cloud.batch_requests=8"

Each replica runs the application on a socket of its own and hands requests through, so that routes, limits, tokens,
queue, batching and metrics are the cloud's own. Host, port and TLS are Ray's.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import web
from ray import serve
from starlette.requests import Request  # noqa: TC002 - Ray reads the annotation
from starlette.responses import Response
from yarl import URL

from midcut.cloud.assembly import assembled
from midcut.config.composition import compose
from midcut.serving import make_runner

if TYPE_CHECKING:
    from collections.abc import Sequence

# A connection's own affair.
_HOP_BY_HOP: Final = frozenset(
    {"connection", "date", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
# Of an answer, the length as well: a HEAD's has one and no body.
_MADE_ANEW: Final = _HOP_BY_HOP | {"content-length"}


class RayCloud:
    """One replica."""

    def __init__(self, overrides: Sequence[str]) -> None:
        self._assembled = assembled(compose("cloud", overrides))
        self._cloud = self._assembled.__enter__()
        self._folder = tempfile.TemporaryDirectory(prefix="midcut-")  # goes with the process
        self._starting = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, request: Request) -> Response:
        """Hand a request through to the application, its body as it comes: the application knows how much it takes."""
        session = self._session or await self._start()
        headers = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
        body = request.stream() if {"content-length", "transfer-encoding"} & set(request.headers) else None
        async with session.request(request.method, _url(request), data=body, headers=headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _MADE_ANEW}
            return Response(await answer.read(), answer.status, kept)

    async def _start(self) -> aiohttp.ClientSession:
        async with self._starting:
            if self._session is None:
                socket = str(Path(self._folder.name) / "cloud.sock")
                runner = make_runner(self._cloud.app, self._cloud.server)
                await runner.setup()
                await web.UnixSite(runner, socket).start()
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(socket, limit=0),
                    auto_decompress=False,
                    skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                )
            return self._session


def _url(request: Request) -> URL:
    """What was asked for, escapes as they were sent: `a%2Fb` is one name."""
    path, query = (request.scope[name].decode("latin-1") for name in ("raw_path", "query_string"))
    return URL.build(scheme="http", host="cloud", path=path, query_string=query, encoded=True)


def build(args: dict[str, str]) -> Any:
    """The application for `serve run midcut.cloud.on_ray:build`.

    Args:
        args: `overrides` as `midcut cloud` takes them, blanks between; `replicas`.
    """
    return deployment(shlex.split(args.get("overrides", "")), int(args.get("replicas", "1")))


def deployment(overrides: Sequence[str], replicas: int = 1) -> Any:
    """A Ray Serve application of so many replicas.

    Args:
        overrides: as `midcut cloud` takes them.
    """
    knobs = compose("cloud", overrides).cloud
    # Ray must not hold back what the cloud's own queue takes, or refuses.
    at_once = 2 * (knobs.queue + knobs.workers * knobs.batch_requests)
    made = serve.deployment(
        name="midcut",
        num_replicas=replicas,
        max_ongoing_requests=at_once,
        ray_actor_options={"num_cpus": knobs.threads * knobs.workers},
    )(RayCloud)
    return made.bind(list(overrides))


def main() -> None:
    """Serve on this machine until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8700)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="as for `midcut cloud`")
    options = parser.parse_args()
    # Ray sends classes of `__main__` by value; a replica needs the module's own.
    from midcut.cloud import on_ray  # noqa: PLC0415, PLW0406

    stop = threading.Event()
    serve.start(http_options={"host": options.host, "port": options.port})
    serve.run(on_ray.deployment(options.overrides, options.replicas))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(f"midcut cloud ready on http://{options.host}:{options.port} on Ray Serve", flush=True)  # noqa: T201 - its one line
    stop.wait()
    serve.shutdown()


if __name__ == "__main__":
    main()
