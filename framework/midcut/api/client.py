"""A client of an edge: images or tensors in, answers out, over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import msgspec

from midcut import wire
from midcut.errors import ConfigError, WireError
from midcut.wire.credentials import client_tls

if TYPE_CHECKING:
    import ssl

    import torch

_OCTETS: Final = "image/*"


@dataclass(frozen=True)
class Answer:
    """What an edge answered.

    Attributes:
        outputs: name of an output of the model -> its value; empty for an image.
        fields: what the edge says of the request: the task's answer (`class`, `label`, `top5` of a classifier), `cut`,
            `codec`, `finished_by`, `cost_usd`, and in `timings` the seconds `edge_s`, `link_s`, `cloud_s`, `latency_s`.
    """

    outputs: dict[str, torch.Tensor | int]
    fields: dict[str, Any]


class Client:
    """A client of one edge, as an async context manager. It keeps connections open.

    Args:
        url: of the edge.
        token: its bearer token, if it asks for one.
        tls_ca: file with the CA that signed its certificate, PEM; None trusts the system's CAs.
        timeout_s: for one request.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8701",
        *,
        token: str | None = None,
        tls_ca: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._tls: ssl.SSLContext | bool = client_tls(tls_ca, None, None) if tls_ca else True
        self._timeout = aiohttp.ClientTimeout(timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout, connector=connector)
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def classify(self, image: bytes | str | Path) -> Answer:
        """Send an image.

        Args:
            image: a file, or its bytes.

        Raises:
            WireError: the edge cannot be reached, or refuses; the text says why.
            OSError: the file cannot be read.
        """
        data = image if isinstance(image, bytes) else await asyncio.to_thread(Path(image).read_bytes)
        return Answer({}, await self._ask("POST", wire.INFER_PATH, data, _OCTETS))

    async def infer(self, *inputs: torch.Tensor, cut: int | None = None, codec: str = "raw") -> Answer:
        """Send the model's positional inputs as tensors; all outputs come back.

        Args:
            cut, codec: used in place of the planner's choice, for comparisons.

        Raises:
            WireError: the edge cannot be reached, or refuses; the text says why.
        """
        body = msgspec.json.encode(wire.ValueList(wire.encode_values(inputs)))
        query = "?outputs" if cut is None else f"?outputs&cut={cut}&codec={codec}"
        fields = await self._ask("POST", wire.INFER_PATH + query, body, wire.JSON_TYPE)
        outputs = fields.pop("outputs", {})
        encoded = wire.read_values(msgspec.json.encode({"values": list(outputs.values())})).values
        return Answer(dict(zip(outputs, wire.decode_values(encoded), strict=True)), fields)

    async def decision(self) -> dict[str, Any]:
        """The cut in use, why, what was observed, and the forecast of every cut."""
        return await self._ask("GET", "/v1/decision")

    async def health(self) -> dict[str, Any]:
        """State and model of the edge."""
        return await self._ask("GET", wire.HEALTH_PATH)

    async def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> dict[str, Any]:
        if self._session is None:
            raise ConfigError("a client asks within `async with midcut.Client(...) as client:`")
        headers = {"Content-Type": kind} if kind else {}
        try:
            async with self._session.request(method, self._url + path, data=body, headers=headers) as response:
                answer = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise WireError(f"{self._url}: {str(error) or 'no answer in time'}") from None
        if status >= 400:
            raise WireError(f"{self._url} answered {status}: {wire.read_error(answer)}")
        try:
            fields: dict[str, Any] = msgspec.json.decode(answer, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise WireError(f"{self._url} answered no JSON; is it an edge of midcut?") from None
        return fields
