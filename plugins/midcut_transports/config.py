"""Knobs of the transports. Light: no aiohttp."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class HttpConfig:
    """The paper's REST interface: `midcut cloud` on the other side.

    Attributes:
        url: where the cloud listens, `http://host:port`, with a path where a proxy adds one.
        timeout_s: a request must be answered after this long, connecting included.
        connect_timeout_s: a connection must stand after this long.
    """

    url: str = "${cloud_url}"
    timeout_s: float = 10.0
    connect_timeout_s: float = 2.0
