"""Choices that occur both in configs and in files. Light: `--help` imports it."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """The side of the cut on which a machine is."""

    edge = "edge"
    cloud = "cloud"


class Normalisation(StrEnum):
    """How slopes (seconds per layer) of different models are normalised before one curve is fitted to all of them.

    `minmax` is the paper's: (slope - lower) / (upper - lower). `max` divides by the upper bound, so that the law can
    reach small values. `loglog` fits a straight line in logarithms for each model.
    """

    minmax = "minmax"
    max = "max"
    loglog = "loglog"


class LayerFeatures(StrEnum):
    """From which features of a node its seconds are fitted.

    `macs`: multiply-adds, bytes read and written, bytes of parameters. `kang`: those of Kang et al. (2017).
    """

    macs = "macs"
    kang = "kang"


class FitWhat(StrEnum):
    """What `midcut fit` fits: the paper's `clock` law, or the `layers` of many models."""

    clock = "clock"
    layers = "layers"


class SlowStart(StrEnum):
    """Whether a connection that was idle goes through TCP's slow start again.

    `auto` depends on the observed pause between requests, and is off where this host's TCP has no slow start after a
    pause. `always` assumes a long pause before every request.
    """

    auto = "auto"
    always = "always"
    never = "never"
