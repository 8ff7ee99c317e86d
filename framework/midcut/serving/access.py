"""Authentication by bearer token; health checks need none."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from midcut import wire
from midcut.errors import ConfigError
from midcut.serving.error_responses import RefusedError
from midcut.wire import oip
from midcut.wire.credentials import read_token, server_tls

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware

    from midcut.config.settings import ServerSettings
    from midcut.serving.error_responses import Handler
    from midcut.wire.watched_files import Token

_log = structlog.get_logger("midcut.serving")
# Health checks of load balancers, open to everybody: they reveal only whether this server works.
OPEN_PATHS: Final = frozenset({wire.HEALTH_PATH, oip.LIVE_PATH, oip.READY_PATH})
AUTHORISED: Final = web.RequestKey("authorised", bool)
"""Whether a request brings a token that may read; not set where no token is configured."""
_CHANGES: Final = frozenset({"DELETE", "PUT", "PATCH"})
_ADMIN_PATHS: Final = f"{oip.REPOSITORY_PATH}/models/"


def check_credentials(settings: ServerSettings) -> None:
    """Read the token and the certificates of a server, so that a problem is reported before models are loaded.

    Raises:
        ConfigError: one of them cannot be used.
    """
    try:
        read_token(settings.token_env, settings.token_file)
        read_token(settings.admin_token_env, settings.admin_token_file, "admin_token")
        server_tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    except ConfigError as error:
        raise ConfigError(f"{settings.section}.{error}") from None


def check_tokens(token: Token, admin_token: Token, open_paths: frozenset[str] = OPEN_PATHS) -> Middleware:
    """A middleware that refuses requests without `Authorization: Bearer TOKEN`, but for health checks.

    Args:
        token: for inference and everything that is read; None where nobody needs one.
        admin_token: for what changes the server (DELETE, PUT, PATCH, a cloud's models), and for all else. Where only
            the other one is configured, nobody may change the server.
        open_paths: paths that need no token.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        user, admin = token.current(), admin_token.current()
        if user is None and admin is None:
            return await handler(request)
        authorization = request.headers.get("Authorization", "")
        scheme, _, credentials = authorization.partition(" ")
        given = credentials.strip() if scheme.lower() == "bearer" else ""  # case-insensitive (RFC 7235)
        is_admin, is_user = _is_same(given, admin), _is_same(given, user)
        request[AUTHORISED] = is_admin or is_user or user is None
        if request.path in open_paths:
            return await handler(request)
        changes = request.method in _CHANGES or request.path.startswith(_ADMIN_PATHS)
        if changes and not is_admin:
            if is_user or (authorization and user is None):
                why = "the token is not that of administration" if admin else "administration has no token here"
                raise RefusedError(403, f"{why}: see admin_token_env and admin_token_file")
            raise _unauthorised(authorization)
        if not request[AUTHORISED]:
            raise _unauthorised(authorization)
        return await handler(request)

    return check


def may_read(request: web.Request) -> bool:
    """Whether whoever asks may know what this server holds; health checks are answered to anybody."""
    return bool(request.get(AUTHORISED, True))


def _is_same(given: str, expected: str | None) -> bool:
    """Whether it is the token. The comparison takes the same time for right and wrong ones."""
    return expected is not None and hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


def _unauthorised(authorization: str) -> RefusedError:
    why = "not this server's token" if authorization else "a token is required: Authorization: Bearer TOKEN"
    return RefusedError(401, why, {"WWW-Authenticate": 'Bearer realm="midcut"'})


def warn_if_unprotected(settings: ServerSettings) -> None:
    """Log a warning where the server takes requests from anybody on the network, or tokens can be read on the way."""
    if is_loopback(settings.host):
        return
    has_token = settings.token_env or settings.token_file or settings.admin_token_env or settings.admin_token_file
    section = settings.section
    if not (has_token or settings.tls_client_ca):
        ways = f"{section}.token_env, {section}.token_file or {section}.tls_client_ca"
        _log.warning(f"this server takes requests from anybody who can reach it: set {ways}", host=settings.host)
    if has_token and not settings.tls_cert:
        _log.warning(
            f"tokens travel without encryption: set {section}.tls_cert, unless a proxy in front speaks TLS",
            host=settings.host,
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
