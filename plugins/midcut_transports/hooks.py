"""The transports that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_transports.config import HttpConfig

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_transports() -> Sequence[Component]:
    return (
        Component(
            name="http",
            config=HttpConfig,
            target="midcut_transports.http.http_transport",
            summary="Open Inference Protocol v2, binary tensors over kept-alive HTTP",
        ),
    )
