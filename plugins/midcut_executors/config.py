"""Knobs of the executors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class NativeConfig:
    """This machine, as fast as it is: no knobs."""
