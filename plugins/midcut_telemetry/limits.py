"""The time limit of sources that ask somebody else."""

from __future__ import annotations

import math

from midcut.errors import ConfigError


def check_timeout(source: str, timeout_s: float) -> float:
    """The limit, if it is finite and over 0.

    Raises:
        ConfigError: it is not.
    """
    if not 0.0 < timeout_s < math.inf:
        raise ConfigError(f"telemetry.{source}.timeout_s must be finite and over 0, got {timeout_s}")
    return timeout_s
