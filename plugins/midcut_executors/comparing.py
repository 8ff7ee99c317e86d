"""How far a runtime may be from PyTorch."""

from __future__ import annotations

from typing import Final

TOLERANCE: Final = 1e-3
"""Largest difference from PyTorch, as a share of a value's largest element."""

INT8_TOLERANCE: Final = 0.25
"""The same for 8-bit integers, of the median picture."""
