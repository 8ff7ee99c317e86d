"""The cloud as a Ray Serve deployment, with the same application and the same wire. Needs the extra `ray`.

    python -m midcut.cloud.on_ray --port 8700 --replicas 2 model=alexnet cloud.batch_requests=8
    serve run midcut.cloud.on_ray:build replicas=2 overrides="model=alexnet cloud.batch_requests=8"

Each replica runs the application on a Unix socket and forwards requests to it, so that routes, limits, tokens, queue,
batching and metrics are those of the cloud. Host, port and TLS are Ray's.
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

from midcut.cloud.assembly import assemble
from midcut.config.build import settings_of
from midcut.config.composition import compose
from midcut.config.settings import CloudConfig
from midcut.serving import REGISTRY, make_runner
from midcut.serving.metrics import labelled
from midcut.wire.addresses import address_url

if TYPE_CHECKING:
    from collections.abc import Sequence

# Headers that concern one connection only and are not forwarded.
_HOP_BY_HOP: Final = frozenset(
    {"connection", "date", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
# Of a response, nor is the length: the response to a HEAD request has one, but no body.
_NOT_RETURNED: Final = _HOP_BY_HOP | {"content-length"}


class RayCloud:
    """One replica."""

    def __init__(self, overrides: Sequence[str]) -> None:
        self._context = assemble(compose("cloud", overrides))
        self._cloud = self._context.__enter__()
        # A scrape reaches one replica or another: the label says which one.
        replica = serve.get_replica_context().replica_id
        name = str(getattr(replica, "unique_id", replica))
        self._cloud.app[REGISTRY] = labelled(self._cloud.app[REGISTRY], replica=name)
        self._folder = tempfile.TemporaryDirectory(prefix="midcut-")  # removed when the process ends
        self._starting = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, request: Request) -> Response:
        """Forward a request to the application. The body is streamed, because the application limits its size."""
        session = self._session or await self._start()
        headers = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
        body = request.stream() if {"content-length", "transfer-encoding"} & set(request.headers) else None
        async with session.request(request.method, _url(request), data=body, headers=headers) as response:
            headers = {name: value for name, value in response.headers.items() if name.lower() not in _NOT_RETURNED}
            return Response(await response.read(), response.status, headers)

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
    """The URL of a request with its escapes unchanged: `a%2Fb` is one name."""
    path, query = (request.scope[name].decode("latin-1") for name in ("raw_path", "query_string"))
    return URL.build(scheme="http", host="cloud", path=path, query_string=query, encoded=True)


def build(args: dict[str, str]) -> Any:
    """The application for `serve run midcut.cloud.on_ray:build`.

    Args:
        args: `overrides` as for `midcut cloud`, separated by blanks; `replicas`.
    """
    return deployment(shlex.split(args.get("overrides", "")), int(args.get("replicas", "1")))


def deployment(overrides: Sequence[str], replicas: int = 1) -> Any:
    """A Ray Serve application.

    Args:
        overrides: of the config, as on the command line of `midcut cloud`.
    """
    settings = settings_of(compose("cloud", overrides), CloudConfig).cloud
    # Ray must forward more requests than the cloud's queue holds, so that it is the queue that refuses.
    max_ongoing = 2 * (settings.queue + settings.workers * settings.batch_requests)
    ray_deployment = serve.deployment(
        name="midcut",
        num_replicas=replicas,
        max_ongoing_requests=max_ongoing,
        ray_actor_options={"num_cpus": settings.thread_count * settings.workers},
    )(RayCloud)
    return ray_deployment.bind(list(overrides))


def main() -> None:
    """Serve on this machine until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8700)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="as for `midcut cloud`")
    options = parser.parse_args()
    # Ray pickles classes of `__main__` by value; a replica must import this module instead.
    from midcut.cloud import on_ray  # noqa: PLC0415, PLW0406

    stop = threading.Event()
    serve.start(http_options={"host": options.host, "port": options.port})
    serve.run(on_ray.deployment(options.overrides, options.replicas))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    url = address_url("http", options.host, options.port)
    print(f"midcut cloud ready on {url} on Ray Serve", flush=True)  # noqa: T201 - its one line
    stop.wait()
    serve.shutdown()


if __name__ == "__main__":
    main()
