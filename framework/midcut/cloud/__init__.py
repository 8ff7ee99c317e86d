"""The stateless cloud: finishes inferences that began elsewhere."""

from __future__ import annotations

from midcut.cloud.app import make_app
from midcut.cloud.hosted import HostedModels

__all__ = ["HostedModels", "make_app"]
