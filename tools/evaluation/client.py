"""A client that talks to the edge's server inside its namespace, on one kept-alive connection."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from midcut.errors import MidcutError

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 120.0
SMALL = {"mnist": 28}
SIDE = 224


class AnswerError(MidcutError):
    """The edge did not answer, or answered with an error: a lost request."""


@dataclass(frozen=True)
class Answer:
    """One answered request.

    Attributes:
        cut, codec: it ran at; `finished_by` and `fallback` as the engine says.
        latency_s: the whole as the engine measured it; `edge_s`, `link_s`, `cloud_s` its parts.
        cost_usd: the cost model applied to them.
        sent_bytes: to the cloud, on the wire.
        predicted: the forecast row it was made on (`latency_s`, `cost_usd` and the parts); empty where there was none.
        began_s, ended_s: `time.time()` around the request, by the client.
        wall_s: the same by a monotonic clock, decoding of the image and the client's own time included.
    """

    cut: int
    codec: str
    finished_by: str
    fallback: str
    latency_s: float
    edge_s: float
    link_s: float
    cloud_s: float
    cost_usd: float
    sent_bytes: int
    predicted: dict[str, Any]
    began_s: float
    ended_s: float
    wall_s: float
    raw: dict[str, Any] = field(repr=False, compare=False)


class EdgeClient:
    """Requests to one edge.

    Args:
        connect: opens a connection to the edge's port, from wherever that must be done.
        image: what is posted to be classified: JPEG.
    """

    def __init__(self, connect: Callable[[], socket.socket], image: bytes) -> None:
        self._connection = _Connection(connect)
        self._image = image

    def infer(self, cut: int | None = None, codec: str | None = None) -> Answer:
        """Have the image classified, at the cut in use or at another one.

        Raises:
            AnswerError: there was no answer; the next request opens a new connection.
        """
        asked = {name: value for name, value in (("cut", cut), ("codec", codec)) if value is not None}
        path = "/v1/infer" + (f"?{urlencode(asked)}" if asked else "")
        began_s, start = time.time(), time.perf_counter()
        body = self.call("POST", path, self._image, {"Content-Type": "image/jpeg"})
        wall_s, ended_s = time.perf_counter() - start, time.time()
        timings = body["timings"]
        return Answer(
            cut=body["cut"],
            codec=body["codec"],
            finished_by=body["finished_by"],
            fallback=body["fallback"],
            latency_s=timings["latency_s"],
            edge_s=timings["edge_s"],
            link_s=timings["link_s"],
            cloud_s=timings["cloud_s"],
            cost_usd=body["cost_usd"],
            sent_bytes=body["sent_bytes"],
            predicted=body["predicted"],
            began_s=began_s,
            ended_s=ended_s,
            wall_s=wall_s,
            raw=body,
        )

    def call(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        """A JSON route of the edge.

        Raises:
            AnswerError: no answer, or not 200.
        """
        try:
            self._connection.request(method, path, body, headers or {})
            with self._connection.getresponse() as response:
                text, status = response.read(), response.status
        except (OSError, http.client.HTTPException, MidcutError) as error:
            self._connection.close()
            raise AnswerError(f"{method} {path}: {error or type(error).__name__}") from error
        if status != 200:
            raise AnswerError(f"{method} {path}: {status} {text[:200].decode(errors='replace')}")
        return json.loads(text) if text else None

    def close(self) -> None:
        self._connection.close()


class _Connection(http.client.HTTPConnection):
    """One whose sockets somebody else opens."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        super().__init__("edge", timeout=TIMEOUT_S)
        self._opened_by = connect

    def connect(self) -> None:
        self.sock = self._opened_by()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # head and body are written one by one
        self.sock.settimeout(TIMEOUT_S)


def picture(model: str, seed: int = 0) -> bytes:
    """A JPEG of the size that the model looks at: smooth noise by a seed."""
    side = SMALL.get(model, SIDE)
    noise = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=90)
    return out.getvalue()
