"""Schedulers of several applications with deadlines on shared tiers: exhaustive, dynamic programme, greedy, PSO-GA."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from midcut.errors import ConfigError
from midcut.simulation.tiers import CLOUD, DEVICE, TIERS, TOLERANCE_S, Outcome, run_together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midcut.simulation.tiers import Application, Tiers
    from midcut.types import Ints

MAX_COMBINATIONS = 1_000_000
TierPlacements = tuple[tuple[int, ...], ...]
"""The tier of every layer of every application."""


@dataclass(frozen=True)
class Schedule:
    """A placement of every application, and what they take together."""

    placements: TierPlacements
    outcome: Outcome


def _evaluated(applications: Sequence[Application], tiers: Tiers, placements: Sequence[Sequence[int]]) -> Schedule:
    plain = tuple(tuple(int(tier) for tier in placement) for placement in placements)
    return Schedule(plain, run_together(applications, plain, tiers))


def exhaustive(applications: Sequence[Application], tiers: Tiers) -> Schedule:
    """The best of all combinations of two cuts for each application.

    Raises:
        ConfigError: there are more than a million combinations.
    """
    choices = [[application.placement(*cuts) for cuts in application.cut_pairs()] for application in applications]
    combinations = math.prod(map(len, choices))
    if combinations > MAX_COMBINATIONS:
        raise ConfigError(f"method exhaustive: {combinations:,} combinations are more than {MAX_COMBINATIONS:,}")
    return min((_evaluated(applications, tiers, each) for each in itertools.product(*choices)), key=_rank)


def greedy(applications: Sequence[Application], tiers: Tiers) -> Schedule:
    """One application after the other, the earliest deadline first: each takes its best two cuts beside the others."""
    chosen: dict[int, tuple[int, ...]] = {}
    for index in sorted(range(len(applications)), key=lambda index: applications[index].deadline_s):
        so_far = sorted([*chosen, index])
        candidates = (applications[index].placement(*cuts) for cuts in applications[index].cut_pairs())

        def rank(candidate: tuple[int, ...], here: int = index, among: Sequence[int] = so_far) -> tuple[float, float]:
            placements = [candidate if one == here else chosen[one] for one in among]
            return run_together([applications[one] for one in among], placements, tiers).rank

        chosen[index] = min(candidates, key=rank)
    return _evaluated(applications, tiers, [chosen[index] for index in range(len(applications))])


def dynamic_programme(applications: Sequence[Application], tiers: Tiers) -> Schedule:
    """Each application's cheapest placement in time, of all 3^N, as if it were alone.

    For one application that is the optimum. For several, its money is a lower bound of any schedule's.
    """
    return _evaluated(applications, tiers, [cheapest_in_time(application, tiers) for application in applications])


class _Label(NamedTuple):
    """A placement of the first layers: what it takes, and their tiers."""

    seconds: float
    usd: float
    tiers: tuple[int, ...]


def cheapest_in_time(application: Application, tiers: Tiers) -> tuple[int, ...]:
    """The cheapest placement of one application within its deadline, or the fastest one where none is.

    Labels move from layer to layer; of those at a tier, only Pareto-optimal ones are followed.
    """
    labels: list[list[_Label]] = [[_Label(0.0, 0.0, ())], [], []]
    fastest_rest = _fastest_rest(application, tiers)
    for layer in range(application.layers):
        sent_bytes = float(application.sent_bytes[layer])
        following: list[list[_Label]] = [[], [], []]
        for before, there in enumerate(labels):
            for tier in range(len(TIERS)):
                sending_s, sending_usd = tiers.sending(sent_bytes, before, tier)
                busy_s = float(application.layer_s[tier, layer])
                step_s = sending_s + busy_s
                step_usd = sending_usd + busy_s * tiers.usd_per_hour[tier] / 3600.0
                following[tier] += [
                    _Label(label.seconds + step_s, label.usd + step_usd, (*label.tiers, tier)) for label in there
                ]
        latest_s = application.deadline_s - fastest_rest[layer + 1]
        labels = [_pareto(found, float(latest)) for found, latest in zip(following, latest_s, strict=True)]
    ends = [label for there in labels for label in there]
    within = [label for label in ends if label.seconds <= application.deadline_s + TOLERANCE_S]
    if within:
        return min(within, key=lambda label: (label.usd, label.seconds)).tiers
    return min(ends, key=lambda label: (label.seconds, label.usd)).tiers


def _fastest_rest(application: Application, tiers: Tiers) -> np.ndarray:
    """Least seconds for the layers from each on, starting on each tier, shape (N + 1, 3)."""
    rest = np.zeros((application.layers + 1, len(TIERS)))
    for layer in reversed(range(application.layers)):
        for before in range(len(TIERS)):
            rest[layer, before] = min(
                tiers.sending(float(application.sent_bytes[layer]), before, tier)[0]
                + application.layer_s[tier, layer]
                + rest[layer + 1, tier]
                for tier in range(len(TIERS))
            )
    return rest


def _pareto(labels: list[_Label], latest_s: float) -> list[_Label]:
    """The labels that no other one beats in both; those too late to be in time are left out, but for the fastest."""
    kept: list[_Label] = []
    for label in sorted(labels, key=lambda label: (label.seconds, label.usd)):
        if kept and (label.usd >= kept[-1].usd or label.seconds > latest_s + TOLERANCE_S):
            continue
        kept.append(label)
    return kept


@dataclass(frozen=True)
class PsoGa:
    """Particle swarm optimisation with the operators of a genetic algorithm (Lin et al. 2020), over all 3^N placements.

    In each iteration a particle mutates one gene with probability w, takes a segment of its own best with probability
    c1 (0.9 to 0.2), then one of the swarm's best with probability c2 (0.4 to 0.9); w = 0.8 - 0.6 exp(d / (d - 1.01)),
    where d is the share of genes that differ from the swarm's best.

    Attributes:
        particles, iterations, seed: number of particles, number of iterations and random seed of the search.
        seeded: begin with all on the device, all on the edge and all in the cloud among the particles.
    """

    particles: int = 100
    iterations: int = 1000
    seed: int = 0
    seeded: bool = True

    def __call__(self, applications: Sequence[Application], tiers: Tiers) -> Schedule:
        """Search; the best placements found."""
        rng = np.random.default_rng(self.seed)
        lengths = [application.layers for application in applications]
        genes = sum(lengths)
        fitness = _fitness(applications, tiers)
        swarm = rng.integers(0, len(TIERS), (self.particles, genes))
        if self.seeded:
            for tier in range(min(len(TIERS), self.particles)):
                swarm[tier] = tier
        best, best_rank = swarm.copy(), fitness(swarm)
        for iteration in range(self.iterations):
            leader = best[min(range(self.particles), key=best_rank.__getitem__)]
            progress = iteration / max(self.iterations - 1, 1)
            self._move(swarm, best, leader, progress, rng)
            for particle, rank in enumerate(fitness(swarm)):
                if rank < best_rank[particle]:
                    best[particle], best_rank[particle] = swarm[particle], rank
        found = best[min(range(self.particles), key=best_rank.__getitem__)]
        return _evaluated(applications, tiers, _split(found, lengths))

    def _move(self, swarm: Ints, best: Ints, leader: Ints, progress: float, rng: np.random.Generator) -> None:
        count, genes = swarm.shape
        different = np.asarray(swarm != leader).mean(axis=1)
        w = 0.8 - 0.6 * np.exp(different / (different - 1.01))
        mutate = np.flatnonzero(rng.random(count) < w)
        swarm[mutate, rng.integers(0, genes, len(mutate))] = rng.integers(0, len(TIERS), len(mutate))
        for chance, source in ((0.9 - 0.7 * progress, best), (0.4 + 0.5 * progress, leader[None])):
            cross = np.asarray(rng.random(count) < chance)
            ends = np.sort(rng.integers(0, genes + 1, (count, 2)), axis=1)
            place = np.arange(genes)
            segment = (place >= ends[:, :1]) & (place < ends[:, 1:]) & cross[:, None]
            np.copyto(swarm, np.broadcast_to(source, swarm.shape), where=segment)


def _fitness(applications: Sequence[Application], tiers: Tiers) -> Callable[[Ints], list[tuple[float, float]]]:
    """Return a function that maps particles, shape (n, genes), to their ranks (late seconds, US dollars).

    One application needs no queues, so that all its particles are computed at once.
    """
    if len(applications) > 1:
        lengths = [application.layers for application in applications]

        def together(swarm: Ints) -> list[tuple[float, float]]:
            return [run_together(applications, _split(row, lengths), tiers).rank for row in swarm]

        return together
    (application,) = applications
    layer_s = application.layer_s
    usd = layer_s * (np.array(tiers.usd_per_hour)[:, None] / 3600.0)
    pairs = [[tiers.sending(1.0, start, stop) for stop in range(3)] for start in range(3)]
    empty = [[tiers.sending(0.0, start, stop) for stop in range(3)] for start in range(3)]
    fixed_s = np.array([[one[0] for one in row] for row in empty])
    byte_s = np.array([[one[0] for one in row] for row in pairs]) - fixed_s
    byte_usd = np.array([[one[1] for one in row] for row in pairs])
    sent, place = application.sent_bytes[:-1], np.arange(application.layers)

    def alone(swarm: Ints) -> list[tuple[float, float]]:
        before = np.column_stack([np.full(len(swarm), DEVICE), swarm[:, :-1]])
        seconds = (layer_s[swarm, place] + byte_s[before, swarm] * sent + fixed_s[before, swarm]).sum(axis=1)
        money = (usd[swarm, place] + byte_usd[before, swarm] * sent).sum(axis=1)
        late = np.where(seconds > application.deadline_s + TOLERANCE_S, seconds - application.deadline_s, 0.0)
        return list(zip(late.tolist(), money.tolist(), strict=True))

    return alone


def best_two_cuts(application: Application, tiers: Tiers) -> tuple[tuple[int, int], Outcome]:
    """The best pair of cuts of one application alone."""
    outcomes = {
        cuts: run_together([application], [application.placement(*cuts)], tiers) for cuts in application.cut_pairs()
    }
    best = min(outcomes, key=lambda cuts: outcomes[cuts].rank)
    return best, outcomes[best]


def _split(genes: Ints, lengths: Sequence[int]) -> list[list[int]]:
    """The genes of each application."""
    return [part.tolist() for part in np.split(genes, np.cumsum(lengths)[:-1])]


def two_cuts_of(placement: Sequence[int]) -> tuple[int, int] | None:
    """The cuts (k1, k2) of a placement; None if it goes back to an earlier tier."""
    if list(placement) != sorted(placement):
        return None
    return list(placement).count(DEVICE), len(placement) - list(placement).count(CLOUD)


def _rank(schedule: Schedule) -> tuple[float, float]:
    return schedule.outcome.rank
