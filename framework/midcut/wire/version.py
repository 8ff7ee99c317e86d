"""The version of the messages between edge and cloud, and which versions of the other side fit.

Version 1 is everything before edges and clouds named a version. A change that the other side cannot understand, or
would understand differently, gets a new version; what it may ignore does not. `OLDEST` moves up only when a release
drops what an old version needs, and at least two versions are always understood.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata
from typing import Final

from midcut.errors import VersionError

VERSION: Final = 2
OLDEST: Final = 1
VERSION_HEADER: Final = "Midcut-Wire"
"""Header of `GET /v1/models` by which an edge names its version."""


def check_version(
    cloud: tuple[int, int], edge: tuple[int, int] = (OLDEST, VERSION), address: str = "the cloud"
) -> None:
    """Compare the versions of both sides, each as (oldest that it understands, its own).

    Raises:
        VersionError: neither understands the other's.
    """
    if cloud[1] >= edge[0] and edge[1] >= cloud[0]:
        return
    older = "the cloud" if cloud[1] < edge[0] else "this edge"
    raise VersionError(
        f"{address} speaks wire versions {cloud[0]} to {cloud[1]}, this edge {edge[0]} to {edge[1]}: update {older}"
    )


@cache
def software() -> str:
    """The versions on which messages and captured graphs depend: `midcut 0.1.0 (wire 2), torch 2.13.0`."""
    own = f"midcut {metadata.version('midcut')} (wire {VERSION})"
    try:
        return f"{own}, torch {metadata.version('torch')}"
    except metadata.PackageNotFoundError:
        return own


def misfit(header: str | None) -> str:
    """Why an edge's version, as its header names it, does not fit this cloud; `""` if it does or names none."""
    if header is None or not (header.isascii() and header.isdigit() and len(header) < 5) or int(header) >= OLDEST:
        return ""
    return f"an edge speaks wire version {int(header)}, this cloud {OLDEST} to {VERSION}: update the edge"
