"""Bounds of settings, checked when a settings object is made. An error names the setting as a user writes it."""

from __future__ import annotations

import math
import os

from midcut.errors import ConfigError


def check_over_zero(settings: object, *keys: str) -> None:
    """Check settings that must be finite and over 0.

    Args:
        settings: has an attribute for the last part of each key: a number, a list of numbers, or None, which passes.
        keys: e.g. `engine.interval_s`.

    Raises:
        ConfigError: a value is out of bounds.
    """
    for key, value in _values(settings, keys):
        if not 0.0 < value < math.inf:
            raise ConfigError(f"{key} must be {_finite(value)}over 0, got {value}")


def check_at_least(least: float, settings: object, *keys: str) -> None:
    """Check settings that must be finite and not less than `least`; otherwise like `check_over_zero`."""
    for key, value in _values(settings, keys):
        if not least <= value < math.inf:
            raise ConfigError(f"{key} must be {_finite(value)}at least {least:g}, got {value}")


def check_share(settings: object, key: str) -> None:
    """Check a setting that must be from 0 to 1; otherwise like `check_over_zero`."""
    for _, value in _values(settings, (key,)):
        if not 0.0 <= value <= 1.0:
            raise ConfigError(f"{key} must be from 0 to 1, got {value}")


def count_threads(key: str, value: int | str) -> int:
    """The number of threads that a setting stands for: a number, or `auto` for every core that this process may use.

    Raises:
        ConfigError: neither.
    """
    if value == "auto":
        return len(os.sched_getaffinity(0))
    if isinstance(value, str):
        raise ConfigError(f"{key} must be a number, or auto for every core, got {value}")
    if value < 1:
        raise ConfigError(f"{key} must be at least 1, got {value}")
    return value


def _finite(value: float) -> str:
    """What to say first of a value that is out of bounds: most are numbers that nobody would take for infinite."""
    return "finite and " if value == math.inf else ""


def _values(settings: object, keys: tuple[str, ...]) -> list[tuple[str, float]]:
    values = [(key, getattr(settings, key.rpartition(".")[2])) for key in keys]
    return [
        (key, number)
        for key, value in values
        if value is not None
        for number in (value if isinstance(value, list) else [value])
    ]


def check_tiers(settings: object) -> None:
    """Check `tiers`: two, or three with a relay."""
    tiers = getattr(settings, "tiers")  # noqa: B009 - of several settings
    if tiers not in (2, 3):
        raise ConfigError(f"tiers must be 2 (edge, cloud) or 3 (edge, relay, cloud), got {tiers}")
