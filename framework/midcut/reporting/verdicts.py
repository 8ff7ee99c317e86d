"""Verdicts on published numbers: whether the simulation reproduces them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from midcut.reporting.formatting import as_signed, strategy_label
from midcut.reporting.series_selection import series_over_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from midcut.profiles import Fit
    from midcut.results.simulation import Claim, Interval, Simulation

TOLERANCE = 1.5
"""Percentage points within which a number counts as met."""
RANDOM = {"uniform", "normal", "poisson"}
AGAINST_THE_TREND = 0.05
"""Share of a curve's change that may go the other way while it is still called rising or falling."""


class Verdict(Enum):
    """Verdicts on a published number, best first."""

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
    Verdict.other_seed: f"the chosen seed is more than {TOLERANCE:g} points away, but other seeds give it: it lies "
    f"inside their 5-95 % interval, or within {TOLERANCE:g} points of their mean",
    Verdict.shape: "the source prints a curve and no number: the direction and the steps are compared, nothing else",
    Verdict.missed: f"more than {TOLERANCE:g} points away, and not what other seeds give either; or another shape",
}


@dataclass(frozen=True)
class ReproductionRow:
    """One row of the reproduction table; numbers in percent.

    Attributes:
        where: the place in the paper.
        what: the compared quantity, in words.
        published, simulated, population: as in the claim; None where there is no such number.
        note: why our number differs from the paper's, or what was compared.
    """

    where: str
    what: str
    published: float | None
    simulated: float | None
    population: Interval | None
    verdict: Verdict
    note: str

    @property
    def difference(self) -> float | None:
        """The simulated number less the published one, in percentage points."""
        return None if self.published is None or self.simulated is None else self.simulated - self.published


def judge_claim(claim: Claim, *, random: bool) -> Verdict:
    """The verdict on a printed number.

    Args:
        claim: the published number and the simulated one.
        random: whether the samples depend on a seed.
    """
    met = claim.simulated is not None and abs(claim.simulated - claim.published) <= TOLERANCE
    met_by_other_seeds = claim.population is not None and (
        claim.population.p5 <= claim.published <= claim.population.p95
        or abs(claim.population.mean - claim.published) <= TOLERANCE
    )
    if met:
        return Verdict.reproduced if met_by_other_seeds or not random else Verdict.one_seed
    return Verdict.other_seed if met_by_other_seeds and random else Verdict.missed


def has_drawn_field(scenario: Any) -> bool:
    """Whether any field of a scenario is drawn at random."""
    if isinstance(scenario, dict):
        return scenario.get("kind") in RANDOM or any(has_drawn_field(value) for value in scenario.values())
    return False


def reproduction_rows(simulations: Mapping[str, Simulation], fits: Mapping[str, Fit]) -> list[ReproductionRow]:
    """All rows of the reproduction table, in order of where the number is printed.

    A simulation without claims is judged by the shape of its curves if its title begins with "Figure": that names the
    figure of the paper that it reproduces.
    """
    rows = [row for fit in fits.values() for row in _fit_rows(fit)]
    for simulation in simulations.values():
        if simulation.claims:
            random = has_drawn_field(simulation.scenario)
            rows += [
                ReproductionRow(
                    claim.where, claim.what, claim.published, claim.simulated, claim.population,
                    judge_claim(claim, random=random), claim.note,
                )
                for claim in simulation.claims
            ]  # fmt: skip
        elif simulation.title.startswith("Figure") and len(simulation.weights) > 2:
            rows += _curve_rows(simulation)
    return sorted(rows, key=lambda row: (not row.where.startswith("Figure"), row.where))


def _fit_rows(fit: Fit) -> Iterator[ReproductionRow]:
    """The row of the paper's Figure 4, from the first law of the fit and its first model.

    All models of a law share one curve, except under `loglog`.
    """
    name, law = next(iter(fit.laws.items()), (None, None))
    if name is None or law is None:
        return
    curve = next(iter(law.models.values()))
    r2 = "" if law.r2 is None else f", R² {law.r2:.3f}"
    note = (
        f"{name.value}: {curve.a:.3g} · CS^{curve.b:.2f}{r2}, mean error {law.mean_error:.1%}, max {law.max_error:.1%} "
        f"on the {fit.validated} points left out{'; the profiles are modelled, not measured' if fit.modelled else ''}"
    )
    what = f"one power law through the normalised slopes of {', '.join(law.models)}"
    verdict = Verdict.shape if curve.b < 0.0 else Verdict.missed
    yield ReproductionRow("Figure 4", what, None, None, None, verdict, note)


def _curve_rows(simulation: Simulation) -> Iterator[ReproductionRow]:
    """Verdicts on a published curve without numbers: with the weight, latency has to rise and cost to fall."""
    where = simulation.title.partition(":")[0]
    planners = dict.fromkeys(each.strategy for each in simulation.series if each.planner and not each.dwell)
    for planner in planners:
        curve = series_over_weights(simulation, planner)
        latency, cost = [point.latency_s for point in curve], [point.cost_usd for point in curve]
        if len(curve) < 3 or min(cost) <= 0.0:
            continue
        as_published = _mostly_rises(latency) and _mostly_rises([-value for value in cost])
        steps = sum(before != after for before, after in pairwise(zip(latency, cost, strict=True)))
        note = (
            f"w {curve[0].w:g} to {curve[-1].w:g}: latency {as_signed((latency[-1] / latency[0] - 1) * 100)} %, "
            f"cost {as_signed((cost[-1] / cost[0] - 1) * 100)} %, in {steps} {'step' if steps == 1 else 'steps'}"
        )
        # Only a simulation that was merged from the jobs of a sweep lacks the metrics of the Pareto front.
        weights = f"{len(curve)} weights" if simulation.fronts else f"{len(curve)} weights, one job a weight"
        what = f"{strategy_label(planner)}: latency rises and cost falls with w, {weights}"
        yield ReproductionRow(where, what, None, None, None, Verdict.shape if as_published else Verdict.missed, note)


def _mostly_rises(values: list[float]) -> bool:
    change = values[-1] - values[0]
    decrease = sum(max(0.0, before - after) for before, after in pairwise(values))
    return change > 0.0 and decrease <= AGAINST_THE_TREND * (change + decrease)
