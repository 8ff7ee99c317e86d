"""A client that talks to the edge's server inside its namespace, on one kept-alive connection."""

from __future__ import annotations

import http.client
import io
import json
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from common.connections import OpenedConnection
from PIL import Image

from midcut.errors import MidcutError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

TIMEOUT_S = 120.0
SMALL_SIDES = {"mnist": 28}
SIDE = 224


class AnswerError(MidcutError):
    """The edge did not answer, or answered with an error: a lost request."""


class Answer(msgspec.Struct, frozen=True):
    """One answered request.

    Attributes:
        cut: it ran at; `finished_by` and `fallback` as the engine reports them.
        latency_s: the whole as the engine measured it; `edge_s`, `link_s`, `cloud_s` its parts.
        cost_usd: the cost model applied to them.
        sent_bytes: to the cloud, on the wire.
        predicted: the forecast row of its placement (`latency_s`, `cost_usd` and the parts); empty without a forecast.
        began_s, ended_s: `time.time()` around the request, by the client.
    """

    cut: int
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


class EdgeClient:
    """Requests to one edge.

    Args:
        connect: opens a connection to the edge's port, from inside its namespace.
        image: what is posted to be classified: JPEG.
    """

    def __init__(self, connect: Callable[[], socket.socket], image: bytes) -> None:
        self._connection = OpenedConnection(connect, "edge", TIMEOUT_S)
        self._image = image

    def infer(self, cut: int | None = None) -> Answer:
        """Have the image classified, at the cut in use or at another one.

        Raises:
            AnswerError: there was no answer; the next request opens a new connection.
        """
        path = "/v1/infer" if cut is None else f"/v1/infer?cut={cut}"
        began_s = time.time()
        body = json.loads(self.request("POST", path, self._image, {"Content-Type": "image/jpeg"}))
        times = {"began_s": began_s, "ended_s": time.time()}
        return msgspec.convert(body | body["timings"] | times, Answer)

    def request(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> str:
        """The body of a reply.

        Raises:
            AnswerError: no answer, or not 200.
        """
        try:
            self._connection.request(method, path, body, headers or {})
            with self._connection.getresponse() as response:
                text, status = response.read().decode(errors="replace"), response.status
        except (OSError, http.client.HTTPException, MidcutError) as error:
            self._connection.close()
            raise AnswerError(f"{method} {path}: {error or type(error).__name__}") from error
        if status != 200:
            raise AnswerError(f"{method} {path}: {status} {text[:200]}")
        return text

    def close(self) -> None:
        self._connection.close()


def noise_image(model: str, seed: int = 0) -> bytes:
    """A JPEG of the model's input size: smooth noise by a seed."""
    side = SMALL_SIDES.get(model, SIDE)
    noise = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=90)
    return out.getvalue()
