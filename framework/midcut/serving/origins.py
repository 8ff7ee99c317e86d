"""Pages of other sites in a user's browser, which reach servers that the sites themselves do not."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import web

from midcut.serving.error_responses import RefusedError
from midcut.wire import oip

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp.typedefs import Middleware

    from midcut.serving.error_responses import Handler

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CHANGES: Final = frozenset({"DELETE", "PUT", "PATCH"})
_ADMIN_PATHS: Final = f"{oip.REPOSITORY_PATH}/models/"
# Names that nobody can own in the public name system (RFC 6761, 6762, 8375, ICANN's .internal, and common usage).
_PRIVATE_SUFFIXES: Final = ("local", "localhost", "internal", "lan", "home", "home.arpa", "svc", "test")


def check_origins(names: Collection[str], browsed: frozenset[str], own_hosts: Collection[str] = ()) -> Middleware:
    """A middleware that refuses what a page of another site makes a browser send.

    A page of another site may send, but not read: everything but GET, HEAD and OPTIONS is refused by the headers
    `Sec-Fetch-Site` and `Origin`, as Go's `http.CrossOriginProtection` does. A site that lets its own name point here
    (DNS rebinding) may even read; no header but `Host` shows that, so that pages and changes need a known name there.

    Args:
        names: host names that browsers use, besides addresses and names that no site can own; `*` takes every name.
        browsed: paths that only browsers ask for, checked whatever the method.
        own_hosts: hosts under which browsers reach this server by a proxy that changes `Host`, with the port unless it
            is the scheme's own.
    """
    known = {_host_name(name.lower()) for name in (*names, *own_hosts, socket.gethostname())}
    own = {host.lower() for host in own_hosts}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in _READS and _is_foreign(request, own):
            raise RefusedError(403, "a page of another site may not ask this server; of its own: see the setting hosts")
        changes = request.method in _CHANGES or request.path.startswith(_ADMIN_PATHS)
        if changes or request.path in browsed:
            name = _host_name(request.headers.get("Host", ""))
            if not ("*" in known or name in known or _is_private(name)):
                raise RefusedError(
                    421, f"this server is not known as {name[:80]!r}: see the setting hosts, or set a token"
                )
        return await handler(request)

    return check


def _is_foreign(request: web.Request, own_hosts: set[str]) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    if origin is None:
        return False  # no browser, or one that is older than all that have been in use since 2020
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return True
    # A page cannot set the second one without the server's consent; proxies in front do that.
    named = (request.headers.get(header, "").lower() for header in ("Host", "X-Forwarded-Host"))
    return host.lower() not in {*named, *own_hosts} - {""}


def _host_name(host: str) -> str:
    """The name in a `Host` header, without port, brackets and the dot of a complete name."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return host
    return (name or "").rstrip(".")


def _is_private(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return "." not in name or name.endswith(tuple(f".{suffix}" for suffix in _PRIVATE_SUFFIXES))
    return True
