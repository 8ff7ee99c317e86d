"""Published numbers beside simulated ones, and what may be said of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from midcut.reporting.texts import label, signed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from midcut.profiles import Fit
    from midcut.results.simulation import Claim, Interval, Series, Simulation

TOLERANCE = 1.5
"""Points of percent within which a number counts as met."""
RANDOM = {"uniform", "normal", "poisson"}
AGAINST_THE_TREND = 0.05
"""Share of a curve's way that may go back before it is no longer called falling or rising."""


class Verdict(Enum):
    """What is said of a published number, best first."""

    reproduced = "reproduced"
    one_seed = "with this seed only"
    other_seed = "within the spread"
    shape = "shape only"
    missed = "not reproduced"


MEANING = {
    Verdict.reproduced: f"the chosen seed gives it within {TOLERANCE:g} points, and so do other seeds: it lies inside "
    f"their 5-95 % interval, or within {TOLERANCE:g} points of their mean (or nothing in the scenario is random)",
    Verdict.one_seed: f"the chosen seed gives it within {TOLERANCE:g} points, but other seeds do not, or none were "
    "tried: a lucky draw, not a property of the method",
    Verdict.other_seed: f"the chosen seed is more than {TOLERANCE:g} points off, but other seeds give it: it lies "
    f"inside their 5-95 % interval, or within {TOLERANCE:g} points of their mean",
    Verdict.shape: "the source prints a curve and no number: the direction and the steps are compared, nothing else",
    Verdict.missed: f"more than {TOLERANCE:g} points off, and not what other seeds give either; or another shape",
}


@dataclass(frozen=True)
class Row:
    """One line of the reproduction table; numbers in percent.

    Attributes:
        where, what: as in the claim.
        published, simulated, population: None where there is no such number.
        note: why it differs or what was compared.
    """

    where: str
    what: str
    published: float | None
    simulated: float | None
    population: Interval | None
    verdict: Verdict
    note: str

    @property
    def off(self) -> float | None:
        """Points between the simulated and the published number."""
        return None if self.published is None or self.simulated is None else self.simulated - self.published


def judge(claim: Claim, *, random: bool) -> Verdict:
    """The verdict on a printed number.

    Args:
        claim: with its numbers.
        random: whether other seeds give other samples.
    """
    close = claim.simulated is not None and abs(claim.simulated - claim.published) <= TOLERANCE
    typical = claim.population is not None and (
        claim.population.p5 <= claim.published <= claim.population.p95
        or abs(claim.population.mean - claim.published) <= TOLERANCE
    )
    if close:
        return Verdict.reproduced if typical or not random else Verdict.one_seed
    return Verdict.other_seed if typical and random else Verdict.missed


def is_random(scenario: Any) -> bool:
    """Whether any field of a scenario is drawn."""
    if isinstance(scenario, dict):
        return scenario.get("kind") in RANDOM or any(is_random(value) for value in scenario.values())
    return False


def reproduction(simulations: Mapping[str, Simulation], fits: Mapping[str, Fit]) -> list[Row]:
    """All rows, by where the number is printed."""
    rows = [row for fit in fits.values() for row in _of_fit(fit)]
    for simulation in simulations.values():
        if simulation.claims:
            random = is_random(simulation.scenario)
            rows += [
                Row(
                    claim.where, claim.what, claim.published, claim.simulated, claim.population,
                    judge(claim, random=random), claim.note,
                )
                for claim in simulation.claims
            ]  # fmt: skip
        elif simulation.title.startswith("Figure") and len(simulation.weights) > 2:
            rows += _of_curve(simulation)
    return sorted(rows, key=lambda row: (not row.where.startswith("Figure"), row.where))


def _of_fit(fit: Fit) -> Iterator[Row]:
    name, law = next(iter(fit.laws.items()), (None, None))
    if name is None or law is None:
        return
    one = next(iter(law.models.values()))
    r2 = "" if law.r2 is None else f", R² {law.r2:.3f}"
    note = (
        f"{name.value}: {one.a:.3g} · CS^{one.b:.2f}{r2}, mean error {law.mean_error:.1%}, max {law.max_error:.1%} "
        f"on the {fit.validated} points left out{'; the profiles are modelled, not measured' if fit.modelled else ''}"
    )
    what = f"one power law through the normalised slopes of {', '.join(law.models)}"
    verdict = Verdict.shape if one.b < 0.0 else Verdict.missed
    yield Row("Figure 4", what, None, None, None, verdict, note)


def _of_curve(simulation: Simulation) -> Iterator[Row]:
    """A figure without numbers over the weight: latency has to rise with it, cost to fall."""
    where = simulation.title.partition(":")[0]
    planners = dict.fromkeys(one.strategy for one in simulation.series if one.planner and not one.dwell)
    for planner in planners:
        curve = over_weights(simulation, planner)
        latency, cost = [one.latency_s for one in curve], [one.cost_usd for one in curve]
        if len(curve) < 3 or min(cost) <= 0.0:
            continue
        good = _mostly_rises(latency) and _mostly_rises([-value for value in cost])
        steps = sum(before != after for before, after in pairwise(zip(latency, cost, strict=True)))
        note = (
            f"w {curve[0].w:g} to {curve[-1].w:g}: latency {signed((latency[-1] / latency[0] - 1) * 100)} %, "
            f"cost {signed((cost[-1] / cost[0] - 1) * 100)} %, in {steps} {'step' if steps == 1 else 'steps'}"
        )
        # Only a sweep's jobs, put together, come without front metrics.
        weights = f"{len(curve)} weights" if simulation.fronts else f"{len(curve)} weights, one job a weight"
        what = f"{label(planner)}: latency rises and cost falls with w, {weights}"
        yield Row(where, what, None, None, None, Verdict.shape if good else Verdict.missed, note)


def over_weights(simulation: Simulation, strategy: str, dwell: int = 0) -> list[Series]:
    """A strategy's series at all its weights, in order of the weight."""
    chosen = [one for one in simulation.series if one.strategy == strategy and one.dwell == dwell and one.w is not None]
    return sorted(chosen, key=lambda one: one.w or 0.0)


def _mostly_rises(values: list[float]) -> bool:
    way = values[-1] - values[0]
    back = sum(max(0.0, before - after) for before, after in pairwise(values))
    return way > 0.0 and back <= AGAINST_THE_TREND * (way + back)
