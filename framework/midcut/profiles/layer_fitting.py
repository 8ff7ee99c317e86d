"""Fits seconds per kind of node to the profiles of several models, by relative non-negative least squares."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

from midcut.errors import ConfigError
from midcut.profiles.layer_fit import OTHER, VIEW, KindLaw, LayerFit, feature_columns, kind_of
from midcut.profiles.profile import one_image_at_a_time
from midcut.terms import LayerFeatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.profiles.profile import Profile, Run
    from midcut.types import Floats

SHORTEST_S = 1e-6
"""A node that takes less is weighted as if it took this: its time is mostly that of the timer."""
_HEAVY = frozenset({"conv", "pointwise", "depthwise", "linear", "matmul", "attention"})


def fit_layers(profiles: Sequence[Profile], features: LayerFeatures = LayerFeatures.macs) -> LayerFit:
    """Fit a law for every kind of node.

    Each kind is fitted by itself, with weights of 1 / seconds, so that errors count in percent and small layers as much
    as large ones. With `LayerFeatures.kang` the features are those of Kang et al. (2017), by ordinary least squares.

    Raises:
        ConfigError: fewer than two models, profiles of different machines or roles, or without node features.
        FileError: a profile of several images at once.
    """
    _check(profiles)
    reference = max(run.clock_mhz or 0.0 for profile in profiles for run in profile.runs)
    lowest = min(run.clock_mhz or 0.0 for profile in profiles for run in profile.runs)
    rows: dict[str, list[Floats]] = defaultdict(list)
    for profile in profiles:
        values = feature_columns(profile.table.nodes, features)
        for run in profile.runs:
            slowdown = reference / run.clock_mhz if run.clock_mhz else 1.0
            columns = np.column_stack([values * slowdown, values, _node_seconds(run)])
            for node, row in zip(profile.table.nodes, columns, strict=True):
                if node.kind != VIEW:
                    rows[kind_of(node, features)].append(row)
                    if node.kind not in _HEAVY:
                        rows[OTHER].append(row)
    if OTHER not in rows:  # there are only heavy nodes
        rows[OTHER] = [row for found in rows.values() for row in found]
    first = profiles[0]
    several_clocks = lowest < reference
    return LayerFit(
        device=first.machine.name,
        role=first.role,
        threads=first.threads,
        models=tuple(sorted(profile.model for profile in profiles)),
        features=features,
        clock_mhz=reference or None,
        clock_min_mhz=lowest or None,
        modelled=any(profile.modelled for profile in profiles),
        kinds={
            kind: _fit_kind(np.array(found), features, several_clocks=several_clocks)
            for kind, found in sorted(rows.items())
        },
    )


def _fit_kind(rows: Floats, features: LayerFeatures, *, several_clocks: bool) -> KindLaw:
    count = (rows.shape[1] - 1) // 2
    columns = rows[:, :-1] if several_clocks else rows[:, :count]
    seconds = rows[:, -1]
    if features is LayerFeatures.kang:
        coefficients = np.linalg.lstsq(columns, seconds, rcond=None)[0]
    else:
        coefficients = relative_nnls(columns, np.maximum(seconds, SHORTEST_S))
    predicted = np.maximum(columns @ coefficients, 0.0)
    error = float(np.median(np.abs(predicted - seconds) / np.maximum(seconds, SHORTEST_S)))
    whole = np.zeros(2 * count)
    whole[: len(coefficients)] = coefficients
    return KindLaw(tuple(whole[:count].tolist()), tuple(whole[count:].tolist()), len(rows), error)


def relative_nnls(columns: Floats, seconds: Floats) -> Floats:
    """The coefficients, none negative, with the smallest sum of squared relative errors; shape (F,).

    Args:
        columns: shape (n, F).
        seconds: over 0, shape (n,).
    """
    relative = columns / seconds[:, None]
    scale = np.abs(relative).max(axis=0)
    scale[scale == 0.0] = 1.0
    solution, _ = nnls(relative / scale, np.ones(len(seconds)))
    coefficients: Floats = solution / scale
    return coefficients


def _node_seconds(run: Run) -> Floats:
    """Seconds per node, scaled to add up to the whole network's, which has no timer around each node."""
    node_s = np.array(run.node_s)
    total = node_s.sum()
    return node_s * (run.whole_s / total) if total else node_s


def _check(profiles: Sequence[Profile]) -> None:
    if len(profiles) < 2:
        raise ConfigError(f"midcut fit what=layers needs profiles of two or more models, got {len(profiles)}")
    first = profiles[0]
    for profile in profiles:
        one_image_at_a_time(profile)
        if not all(node.kind for node in profile.table.nodes):
            raise ConfigError(
                f"the profile of {profile.model!r} has no node features: it was made by an older version; profile again"
            )
        here, there = ((each.machine.name, each.role, each.threads) for each in (first, profile))
        if here != there:
            raise ConfigError(
                f"midcut fit what=layers takes profiles of one machine: {first.model!r} is of {_text(first)}, "
                f"{profile.model!r} of {_text(profile)}"
            )


def _text(profile: Profile) -> str:
    return f"{profile.machine.name} as {profile.role}, threads={profile.threads}"
