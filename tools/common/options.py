"""Types of the numbers that a tool's options take: argparse refuses in one line what the tool cannot work with."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """The type of a whole number with a smallest value."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise ArgumentTypeError(f"must be a whole number of at least {least}, got {text!r}")
        return number

    return parse


def several(least: int) -> Callable[[str], list[int]]:
    """The type of a comma list of whole numbers with a smallest value."""

    def parse(text: str) -> list[int]:
        return [at_least(least)(word) for word in text.split(",")]

    return parse


def over_zero(text: str) -> float:
    """The type of a finite number over 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise ArgumentTypeError(f"must be a number over 0, got {text!r}")
    return number
