"""Addresses as a user has to type them."""

from __future__ import annotations


def address_url(scheme: str, host: str, port: int) -> str:
    """The URL of a host and port: an IPv6 address is in brackets, with `%25` before its zone (RFC 6874)."""
    if ":" not in host:
        return f"{scheme}://{host}:{port}"
    address, _, zone = host.strip("[]").partition("%")
    return f"{scheme}://[{address}{'%25' if zone else ''}{zone.removeprefix('25')}]:{port}"
