"""JSON responses: successes of a predictable size, errors as one line."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from midcut import wire
from midcut.errors import BusyError, WireError, is_exhausted
from midcut.wire import oip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger("midcut.serving")
RECEIVED: Final = web.RequestKey("received", str)
"""The checksum of a request whose body was read; its response carries it in the header `Midcut-Received`."""
# A reason may quote what the client sent, up to a whole body, which is too long for a response or a log.
_MOST_CHARACTERS: Final = 1000
_BUSY_EVERY_S: Final = 1.0


class RefusedError(WireError):
    """A refused request, with a status that no class of midcut.errors has."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


def json_response(body: bytes, status: int = 200) -> web.Response:
    """A JSON response; `wire.reply_head_bytes` predicts the size of its HTTP header."""
    return web.Response(body=body, status=status, content_type=wire.JSON_TYPE, headers={"Server": "midcut"})


class BusyLog:
    """Logs refusals of a busy server once a second, as writing a line each would make it busier."""

    def __init__(self) -> None:
        self._logged_s = -math.inf
        self._more = 0

    def log(self, reason: str, request: web.Request) -> None:
        """Log a refusal, with the number of those since the last line, or count it."""
        now = time.monotonic()
        if now - self._logged_s < _BUSY_EVERY_S:
            self._more += 1
            return
        more, self._more, self._logged_s = self._more, 0, now
        _log.info("refused", status=503, reason=reason, path=request.path[:200], peer=request.remote, more_before=more)


BUSY_LOG: Final = web.AppKey("busy_log", BusyLog)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A middleware that turns every error into one line of JSON for the client and one line in the log."""
    try:
        response = await handler(request)
    except ConnectionError as error:
        _log.info("client closed the connection", path=request.path[:200], peer=request.remote, error=str(error))
        raise
    except Exception as error:  # noqa: BLE001 - the server goes on
        response = _response_to(request, error)
    if isinstance(response, web.Response) and RECEIVED in request:
        response.headers[oip.RECEIVED_HEADER] = request[RECEIVED]
    return response


def _response_to(request: web.Request, error: Exception) -> web.Response:
    if isinstance(error, WireError):
        return _error_response(request, error.status, str(error), error.headers)
    if isinstance(error, web.HTTPException):
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _error_response(request, error.status, f"{request.method} {request.path[:200]}: {error.reason}", headers)
    if is_exhausted(error):
        _log.warning("no memory or no files left", path=request.path[:200], error=type(error).__name__)
        busy = BusyError("this server has no memory or no files left for the request")
        return _error_response(request, busy.status, str(busy), busy.headers)
    _log.error("request failed", path=request.path[:200], exc_info=error)  # a bug, with its traceback
    return json_response(wire.encode_error("internal error; see the server's log"), 500)


def _error_response(request: web.Request, status: int, reason: str, headers: Mapping[str, str]) -> web.Response:
    reason = reason if len(reason) <= _MOST_CHARACTERS else f"{reason[:_MOST_CHARACTERS]}..."
    if status == BusyError.status and (busy_log := request.app.get(BUSY_LOG)) is not None:
        busy_log.log(reason, request)
    else:
        _log.info("refused", status=status, reason=reason, path=request.path[:200], peer=request.remote)
    response = json_response(wire.encode_error(reason), status)
    response.headers.update(headers)
    return response
