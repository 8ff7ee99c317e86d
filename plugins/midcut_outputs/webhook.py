"""Results as POST requests."""

from __future__ import annotations

import math
import urllib.request
from typing import IO, TYPE_CHECKING, Any

import msgspec

from midcut.errors import ConfigError
from midcut.wire.credentials import read_token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPMessage


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A followed redirect would be a GET without the result, and would send the token to another host."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],  # noqa: ARG002 - as urllib calls it
        code: int,
        msg: str,  # noqa: ARG002
        headers: HTTPMessage,  # noqa: ARG002
        newurl: str,
    ) -> None:
        raise ConnectionError(f"{req.full_url} redirects ({code}) to {newurl}: set output.webhook.url to where it is")


_open = urllib.request.build_opener(_NoRedirects).open


class Webhook:
    """Posts each result as JSON; an answer that is no success is a failure. See `midcut.protocols.Output`."""

    def __init__(self, url: str, timeout_s: float, token_env: str | None) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"output.webhook.url must begin with http:// or https://, got {url!r}")
        if not 0.0 < timeout_s < math.inf:
            raise ConfigError(f"output.webhook.timeout_s must be finite and over 0, got {timeout_s}")
        token = read_token(token_env, None)
        self._url, self._timeout_s = url, timeout_s
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def write(self, result: Mapping[str, Any]) -> None:
        request = urllib.request.Request(  # noqa: S310 - its scheme was checked
            self._url, msgspec.json.encode(result), self._headers, method="POST"
        )
        with _open(request, timeout=self._timeout_s) as answer:
            answer.read()

    def close(self) -> None:
        """Nothing stays open between two requests."""
