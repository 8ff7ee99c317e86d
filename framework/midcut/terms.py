"""Choices that stand both in configs and in files. Light: `--help` imports it."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Which side of the cut a machine stands on."""

    edge = "edge"
    cloud = "cloud"


class Normalisation(StrEnum):
    """How slopes of different models are made comparable before one curve is fitted to all.

    `minmax` is the paper's: (slope - lower) / (upper - lower). `max` divides by the upper bound, so
    that the law can reach small values. `loglog` fits a straight line in logarithms per model.
    """

    minmax = "minmax"
    max = "max"
    loglog = "loglog"


class SlowStart(StrEnum):
    """Whether a kept connection that was idle starts slowly again.

    `auto` goes by how long requests pause, where the host's TCP does so at all; `always` takes every request for one
    after a long pause.
    """

    auto = "auto"
    always = "always"
    never = "never"
