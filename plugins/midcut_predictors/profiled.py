"""Computation latency from profiles: every node has its own seconds, and at the edge its own clock law."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import FileError
from midcut.profiles import Profile, Role, Run, find_profile, one_image_at_a_time
from midcut_predictors.fields import positive
from midcut_predictors.ranges import ClockRange, clocks_text

if TYPE_CHECKING:
    from midcut.types import Floats, Observation, Placements

logger = logging.getLogger(__name__)


class EdgeProfile:
    """Sum over the nodes before the cut of core * f0 / f + memory.

    Computation follows the clock, waiting for memory does not; both parts of each node come from a
    non-negative least-squares fit over the profile's clocks. With one clock all of it is taken to
    follow the clock; with a clock that is not known, none. A clock outside the profile's is said once.
    """

    def __init__(self, placements: Placements, profile: str = "pi4", *, match_whole: bool = True) -> None:
        found = profile_for(placements, profile, Role.edge)
        check_nodes(found, profile, placements)
        self.based_on = describe(found)
        node_s = np.array([seconds_per_node(run, match_whole=match_whole) for run in found.runs])
        clocks = np.array([run.clock_mhz or 0.0 for run in found.runs])
        self._reference_mhz = float(clocks.max())
        if self._reference_mhz:
            core, memory = clock_law(self._reference_mhz / clocks, node_s)
        else:
            core, memory = np.zeros_like(node_s[0]), node_s[0]
        if len(clocks) == 1:
            law = "follow the clock" if self._reference_mhz else "not depend on a clock"
            logger.info("profile %s of %s has one clock setting: all of it is taken to %s", profile, found.model, law)
        self.needs = frozenset({"clock_mhz"}) if self._reference_mhz else frozenset[str]()
        self._range = ClockRange(
            float(clocks.min()),
            self._reference_mhz,
            f"profile {profile!r} ({found.machine.name}): the prediction extrapolates; "
            f"for another machine: midcut profile model={found.model}, then edge_profile=FILE",
        )
        self._core = before(core)[placements.cut]
        self._memory = before(memory)[placements.cut]

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`."""
        if not self._reference_mhz:
            return self._memory
        clock_mhz = positive(observation, "clock_mhz")
        self._range.check(clock_mhz)
        seconds: Floats = self._core * (self._reference_mhz / clock_mhz) + self._memory
        return seconds


class CloudProfile:
    """Sum over the nodes from the cut on; the cloud's clock is fixed."""

    needs: frozenset[str] = frozenset()

    def __init__(self, placements: Placements, profile: str = "cloud", *, match_whole: bool = True) -> None:
        found = profile_for(placements, profile, Role.cloud)
        check_nodes(found, profile, placements)
        self.based_on = describe(found)
        node_s = seconds_per_node(fastest(found), match_whole=match_whole)
        # Summed from the back, so that nothing is left over at the last cut.
        self._seconds = before(node_s[::-1])[::-1][placements.cut]

    def seconds(self, observation: Observation) -> Floats:  # noqa: ARG002 - a cloud's clock is fixed
        """See `midcut.protocols.LatencyPredictor`."""
        return self._seconds


def profile_for(placements: Placements, spec: str, role: Role) -> Profile:
    """Find the profile of the placements' model.

    Raises:
        FileError: there is none, it is of several images at once, or it was measured on another graph. A modelled
            profile holds for an architecture, however the installed torch spells its nodes: there the count decides.
    """
    profile = find_profile(spec, role, placements.model)
    one_image_at_a_time(profile)
    measured = profile.table.graph
    if measured and placements.graph and measured != placements.graph and not profile.modelled:
        raise FileError(
            f"profile {spec!r} of {profile.model!r} as {role} was measured on another graph, {measured}, than is "
            f"split here, {placements.graph} (cuts.capture, num_classes or the torch version differ); "
            f"profile it again as it is captured now: midcut profile model={profile.model} role={role}"
        )
    return profile


def describe(profile: Profile) -> str:
    """What the seconds are of, for people: machine, clocks, threads."""
    clocks = [run.clock_mhz for run in profile.runs if run.clock_mhz is not None]
    at = f", {clocks_text(min(clocks), max(clocks))}" if clocks else ""
    threads = f", {profile.threads} thread{'s' if profile.threads > 1 else ''}"
    return f"profile of {profile.machine.name}{' (modelled)' if profile.modelled else ''}{at}{threads}"


def check_nodes(profile: Profile, spec: str, placements: Placements) -> None:
    """Refuse a profile whose nodes cannot be those of the placements, also where neither side has a hash.

    Raises:
        FileError: the numbers of nodes or layers differ.
    """
    profiled = (len(profile.table.nodes), profile.table.layers)
    if profiled != (placements.nodes, placements.layers):
        raise FileError(
            f"profile {spec!r} of {profile.model!r} has {profiled[0]} nodes and {profiled[1]} layers "
            f"(cuts.capture={profile.table.capture}), the model has {placements.nodes} and {placements.layers}; "
            "profile it again as it is captured now"
        )


def seconds_per_node(run: Run, *, match_whole: bool) -> Floats:
    """The run's seconds per node, shape (N,)."""
    node_s = np.array(run.node_s, dtype=np.float64)
    total = node_s.sum()
    return node_s * (run.whole_s / total) if match_whole and total > 0.0 else node_s


def fastest(profile: Profile) -> Run:
    """The run at the highest clock."""
    return max(profile.runs, key=lambda run: run.clock_mhz or 0.0)


def before(node_s: Floats) -> Floats:
    """Seconds of all nodes before each cut, shape (N + 1,)."""
    return np.concatenate([[0.0], node_s.cumsum()])


def clock_law(slowdown: Floats, node_s: Floats) -> tuple[Floats, Floats]:
    """Fit seconds = core * slowdown + memory per node, neither negative, by least squares.

    Two unknowns have a closed form: where the free fit has a negative part, that part is 0 and the
    other one is fitted alone.

    Args:
        slowdown: reference clock / clock of each run, shape (R,).
        node_s: seconds, shape (R, N).

    Returns:
        core, memory: seconds at the reference clock, each of shape (N,).
    """
    along = slowdown @ node_s / (slowdown @ slowdown)
    if len(slowdown) == 1:
        return along, np.zeros_like(along)
    mean_x, mean_s = slowdown.mean(), node_s.mean(axis=0)
    spread = slowdown - mean_x
    core = spread @ (node_s - mean_s) / (spread @ spread)
    memory = mean_s - core * mean_x
    memory = np.where(core < 0.0, mean_s, memory)
    core = np.where(memory < 0.0, along, np.maximum(core, 0.0))
    return core, np.maximum(memory, 0.0)
