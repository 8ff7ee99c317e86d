"""Predictors of computation latency from profiles, with seconds per node and, at the edge, a clock law per node."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import FileError
from midcut.planning import positive_field
from midcut.profiles import Profile, Role, Run, find_profile, one_image_at_a_time
from midcut_predictors.ranges import ClockRange, clocks_text

if TYPE_CHECKING:
    from midcut.types import Floats, Observation, Placements

logger = logging.getLogger(__name__)


class EdgeProfile:
    """Edge latency: the sum of core * f0 / f + memory over the nodes before the cut.

    Computation follows the clock, waiting for memory does not. Both parts of each node come from a non-negative
    least-squares fit over the profile's clocks. If there is one clock, all time is assumed to follow it; if the
    clock is unknown, none is. A clock outside the profile's range is logged once.
    """

    def __init__(self, placements: Placements, profile: str = "pi4", *, match_whole: bool = True) -> None:
        node_profile = find_matching_profile(placements, profile, Role.edge)
        check_nodes(node_profile, profile, placements)
        self.based_on = profile_text(node_profile)
        node_s = np.array([scaled_node_s(run, match_whole=match_whole) for run in node_profile.runs])
        clocks = np.array([run.clock_mhz or 0.0 for run in node_profile.runs])
        self._reference_mhz = float(clocks.max())
        if self._reference_mhz:
            core, memory = fit_clock_law(self._reference_mhz / clocks, node_s)
        else:
            core, memory = np.zeros_like(node_s[0]), node_s[0]
        if len(clocks) == 1:
            law = "follow the clock" if self._reference_mhz else "not depend on a clock"
            logger.info("profile %s of %s has one clock: its time is assumed to %s", profile, node_profile.model, law)
        self.needs = frozenset({"clock_mhz"}) if self._reference_mhz else frozenset[str]()
        self._range = ClockRange(
            float(clocks.min()),
            self._reference_mhz,
            f"profile {profile!r} ({node_profile.machine.name}): the prediction extrapolates; "
            f"for another machine: midcut profile model={node_profile.model}, then edge_profile=FILE",
        )
        self._core = seconds_before(core)[placements.cut]
        self._memory = seconds_before(memory)[placements.cut]

    def seconds(self, observation: Observation) -> Floats:
        """See `midcut.protocols.LatencyPredictor`."""
        if not self._reference_mhz:
            return self._memory
        clock_mhz = positive_field(observation, "clock_mhz")
        self._range.check(clock_mhz)
        seconds: Floats = self._core * (self._reference_mhz / clock_mhz) + self._memory
        return seconds


class CloudProfile:
    """Cloud latency: the sum over the nodes after the cut; the cloud's clock is fixed."""

    needs: frozenset[str] = frozenset()

    def __init__(self, placements: Placements, profile: str = "cloud", *, match_whole: bool = True) -> None:
        node_profile = find_matching_profile(placements, profile, Role.cloud)
        check_nodes(node_profile, profile, placements)
        self.based_on = profile_text(node_profile)
        node_s = scaled_node_s(fastest_run(node_profile), match_whole=match_whole)
        # Summed from the back, so that rounding leaves exactly 0 at the last cut.
        self._seconds = seconds_before(node_s[::-1])[::-1][placements.cut]

    def seconds(self, observation: Observation) -> Floats:  # noqa: ARG002 - a cloud's clock is fixed
        """See `midcut.protocols.LatencyPredictor`."""
        return self._seconds


def find_matching_profile(placements: Placements, spec: str, role: Role) -> Profile:
    """Find the profile of the placements' model.

    Raises:
        FileError: there is none, it was measured on batches of images, or on another graph. A modelled profile is
            valid for an architecture, whatever names the installed torch gives its nodes: there only their number
            must match (`check_nodes`).
    """
    profile = find_profile(spec, role, placements.model)
    one_image_at_a_time(profile)
    graph = profile.table.graph
    if graph and placements.graph and graph != placements.graph and not profile.modelled:
        raise FileError(
            f"profile {spec!r} of {profile.model!r} as {role} was measured on another graph, {graph}, than is "
            f"split here, {placements.graph} (cuts.capture, num_classes or the torch version differ); "
            f"profile it again as it is captured now: midcut profile model={profile.model} role={role}"
        )
    return profile


def profile_text(profile: Profile) -> str:
    """Describe what a profile was measured on: machine, clocks, threads."""
    clocks = [run.clock_mhz for run in profile.runs if run.clock_mhz is not None]
    at = f", {clocks_text(min(clocks), max(clocks))}" if clocks else ""
    threads = f", {profile.threads} thread{'s' if profile.threads > 1 else ''}"
    runtime = f", {profile.executor}" if profile.executor else ""
    made = f" ({_how_made(profile)})" if profile.modelled else ""
    return f"profile of {profile.machine.name}{made}{at}{threads}{runtime}"


def _how_made(profile: Profile) -> str:
    return profile.machine.system if "estimated" in profile.machine.system else "modelled"


def check_nodes(profile: Profile, spec: str, placements: Placements) -> None:
    """Refuse a profile whose nodes cannot be those of the placements; works without graph hashes, too.

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


def scaled_node_s(run: Run, *, match_whole: bool) -> Floats:
    """Seconds per node of a run, shape (N,); with `match_whole` scaled to add up to the whole network's time."""
    node_s = np.array(run.node_s, dtype=np.float64)
    total = node_s.sum()
    return node_s * (run.whole_s / total) if match_whole and total > 0.0 else node_s


def fastest_run(profile: Profile) -> Run:
    """The run at the highest clock of a profile."""
    return max(profile.runs, key=lambda run: run.clock_mhz or 0.0)


def seconds_before(node_s: Floats) -> Floats:
    """Seconds of all nodes before each cut, shape (N + 1,), from the seconds of each node."""
    return np.concatenate([[0.0], node_s.cumsum()])


def fit_clock_law(slowdown: Floats, node_s: Floats) -> tuple[Floats, Floats]:
    """Fit seconds = core * slowdown + memory per node, neither negative, by least squares.

    With two unknowns there is a closed form: if the unconstrained fit has a negative part, that part is 0 and the other
    one is fitted alone.

    Args:
        slowdown: reference clock / clock of each run, shape (R,).
        node_s: seconds, shape (R, N).

    Returns:
        core, memory: seconds at the reference clock, each of shape (N,).
    """
    core_only = slowdown @ node_s / (slowdown @ slowdown)
    if len(slowdown) == 1:
        return core_only, np.zeros_like(core_only)
    mean_x, mean_s = slowdown.mean(), node_s.mean(axis=0)
    deviation = slowdown - mean_x
    core = deviation @ (node_s - mean_s) / (deviation @ deviation)
    memory = mean_s - core * mean_x
    memory = np.where(core < 0.0, mean_s, memory)
    core = np.where(memory < 0.0, core_only, np.maximum(core, 0.0))
    return core, np.maximum(memory, 0.0)
