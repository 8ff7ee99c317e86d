"""Makes a report from results."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from midcut.reporting.comparison_sections import dwell_section, errors_section, planners_section, policies_section
from midcut.reporting.evaluation_sections import evaluations_section
from midcut.reporting.report_model import Report, distinct_titles
from midcut.reporting.run_sections import fits_section, plans_section, streams_section, sweeps_section
from midcut.reporting.simulation_sections import reproduction_section, simulation_sections
from midcut.reporting.style import figure_style
from midcut.reporting.sweep_merging import merge_sweeps
from midcut.reporting.verdicts import Verdict

if TYPE_CHECKING:
    from midcut.reporting.load import Results
    from midcut.results.simulation import Simulation

TITLE = "midcut report"


def make_report(results: Results, title: str | None = None) -> Report:
    """Draw all figures and fill all tables.

    Args:
        results: the results that the report shows.
        title: title of the page; None for a default.
    """
    sweeps = [sweep.name for sweep in results.sweeps]
    simulations = dict(sorted(merge_sweeps(results.simulations, sweeps).items(), key=_paper_figures_first))
    jobs = tuple(f"{sweep}/" for sweep in sweeps)
    single_plans = {name: plan for name, plan in results.plans.items() if not name.startswith(jobs)}
    with figure_style():
        reproduced = reproduction_section(simulations, results.fits)
        sections = [
            reproduced[0] if reproduced else None,
            evaluations_section(results.evaluations),
            simulation_sections(simulations) if simulations else None,
            planners_section(simulations),
            policies_section(simulations),
            errors_section(simulations),
            dwell_section(simulations),
            sweeps_section(results.sweeps),
            fits_section(results.fits),
            plans_section(single_plans),
            streams_section(results.streams),
        ]
    counts = Counter(row.verdict for row in reproduced[1]) if reproduced else Counter()
    count_by_verdict = {verdict.value: counts[verdict] for verdict in Verdict if counts[verdict]}
    return Report(
        title or TITLE,
        _lead_text(results, len(simulations), len(single_plans)),
        count_by_verdict,
        tuple(replace(section, sections=distinct_titles(section.sections)) for section in sections if section),
    )


def _paper_figures_first(item: tuple[str, Simulation]) -> tuple[bool, str]:
    """Sort key: the paper's figures by number, then the others in their order."""
    title = item[1].title
    return (False, title) if title.startswith("Figure") else (True, "")


def _lead_text(results: Results, simulations: int, plans: int) -> str:
    counts = {
        "evaluation": len(results.evaluations),
        "simulation": simulations,
        "sweep": len(results.sweeps),
        "fit": len(results.fits),
        "plan": plans,
        "stream": len(results.streams),
    }
    parts = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count]
    return f"Made from {', '.join(parts)}."
