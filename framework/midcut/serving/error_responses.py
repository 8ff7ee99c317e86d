"""Answers as JSON: what succeeded in a form whose size is known, what did not in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from midcut import wire
from midcut.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger("midcut.serving")
# A reason may quote what was sent, which may be a whole body: neither an answer nor a log takes that.
_MOST_CHARACTERS: Final = 1000


class RefusedError(WireError):
    """A request refused with a status that has no class of its own."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


def json_response(body: bytes, status: int = 200) -> web.Response:
    """A response whose head `wire.reply_head_bytes` knows."""
    return web.Response(body=body, status=status, content_type=wire.JSON_TYPE, headers={"Server": "midcut"})


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer that is no success is one line of JSON; every cause is one line of log."""
    try:
        return await handler(request)
    except WireError as error:
        return _error_response(request, error.status, str(error), error.headers)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _error_response(request, error.status, f"{request.method} {request.path[:200]}: {error.reason}", headers)
    except ConnectionError as error:
        _log.info("client went away", path=request.path[:200], peer=request.remote, error=str(error))
        raise
    except Exception:  # noqa: BLE001 - a bug: logged with its traceback, and the server lives on
        _log.exception("request failed", path=request.path[:200])
        return json_response(wire.encode_error("internal error; the server's log says more"), 500)


def _error_response(request: web.Request, status: int, reason: str, headers: Mapping[str, str]) -> web.Response:
    reason = reason if len(reason) <= _MOST_CHARACTERS else f"{reason[:_MOST_CHARACTERS]}..."
    _log.info("refused", status=status, reason=reason, path=request.path[:200], peer=request.remote)
    response = json_response(wire.encode_error(reason), status)
    response.headers.update(headers)
    return response
