"""Authentication by bearer token; health checks need none."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from midcut import wire
from midcut.serving.error_responses import RefusedError
from midcut.wire import oip
from midcut.wire.credentials import read_token, server_tls

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware

    from midcut.config.settings import ServerSettings
    from midcut.serving.error_responses import Handler

_log = structlog.get_logger("midcut.serving")
# Health checks of load balancers, open to everybody: they reveal only whether this server works.
OPEN_PATHS: Final = frozenset({wire.HEALTH_PATH, oip.LIVE_PATH, oip.READY_PATH})


def check_credentials(settings: ServerSettings) -> None:
    """Read the token and the certificates of a server, so that a problem is reported before models are loaded.

    Raises:
        ConfigError: one of them cannot be used.
    """
    read_token(settings.token_env, settings.token_file)
    server_tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def require_token(token: str) -> Middleware:
    """A middleware that refuses requests without `Authorization: Bearer TOKEN`, but for health checks."""
    expected = token.encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            authorization = request.headers.get("Authorization", "")
            scheme, _, credentials = authorization.partition(" ")
            # The comparison takes the same time for right and wrong tokens. The scheme is case-insensitive (RFC 7235).
            same = hmac.compare_digest(credentials.strip().encode(errors="surrogateescape"), expected)
            if not same or scheme.lower() != "bearer":
                why = "not this server's token" if authorization else "a token is required: Authorization: Bearer TOKEN"
                raise RefusedError(401, why, {"WWW-Authenticate": 'Bearer realm="midcut"'})
        return await handler(request)

    return check


def warn_if_unprotected(settings: ServerSettings) -> None:
    """Log a warning where the server takes requests from anybody on the network."""
    if not (_is_loopback(settings.host) or settings.token_env or settings.token_file or settings.tls_client_ca):
        _log.warning(
            "this server takes requests from anybody who can reach it: set token_env, token_file or tls_client_ca",
            host=settings.host,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
