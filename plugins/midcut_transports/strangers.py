"""Names a server that stands where a midcut cloud is expected: one that redirects, or another vendor's."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin

import msgspec

if TYPE_CHECKING:
    from midcut_transports.connection import Answer

_REDIRECTS = (301, 302, 303, 307, 308)
_OWN_NAME = "midcut"


class _Server(msgspec.Struct):
    """The part of an Open Inference Protocol server's metadata that names it."""

    name: str
    version: str = ""


def redirect_reason(answer: Answer, url: str, path: str) -> str:
    """Say where an answer redirects to, `""` if it does not.

    Args:
        url: of the request, without the path.
        path: of the request.
    """
    location = answer.header(b"location")
    if answer.status not in _REDIRECTS or location is None:
        return ""
    target = urljoin(f"{url}{path}", location)[:300]
    base = target.removesuffix(path)
    is_same_path = base != target and "?" not in base
    hint = f"give cloud_url={base}" if is_same_path else "cloud_url must be the address of the cloud itself"
    return f"{url} redirects to {target}, which is not followed: {hint}"


def stranger_reason(metadata: bytes, address: str) -> str:
    """Say which other server an address is, by what it answers to GET /v2; `""` if that does not tell."""
    try:
        server = msgspec.json.decode(metadata, type=_Server)
    except msgspec.MsgspecError:
        return ""
    if server.name == _OWN_NAME:
        return ""
    name = " ".join(f"{server.name} {server.version}".split())[:100]
    return f"{address} is {name}, not a midcut cloud: transport.plain=true asks it for whole models, at cut 0"
