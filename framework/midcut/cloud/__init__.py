"""The stateless cloud: computes the rest of inferences that began at an edge."""

from __future__ import annotations

from midcut.cloud.app import make_app
from midcut.cloud.hosted import HostedModels

__all__ = ["HostedModels", "make_app"]
