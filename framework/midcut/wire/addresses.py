"""Addresses as a user has to type them."""

from __future__ import annotations

from urllib.parse import urlsplit


def address_url(scheme: str, host: str, port: int) -> str:
    """The URL of a host and port: an IPv6 address is in brackets, with `%25` before its zone (RFC 6874)."""
    if ":" not in host:
        return f"{scheme}://{host}:{port}"
    address, _, zone = host.strip("[]").partition("%")
    return f"{scheme}://[{address}{'%25' if zone else ''}{zone.removeprefix('25')}]:{port}"


def is_http_url(url: str) -> bool:
    """Whether a text is `http://host` or `https://host`, with or without a port and a path."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
