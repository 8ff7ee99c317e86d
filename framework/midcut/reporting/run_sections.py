"""The report's sections about sweeps, fits, plans and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from midcut.reporting.curves import curves, outcomes, swept_knobs
from midcut.reporting.document import Column, Picture, Section, Table
from midcut.reporting.figures_fit import draw_fit
from midcut.reporting.figures_runs import draw_plan, draw_streams
from midcut.reporting.figures_weights import draw_curves
from midcut.reporting.texts import label, microdollars, milliseconds, number, percent, weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.profiles import Fit
    from midcut.reporting.load import Stream, Sweep
    from midcut.results.plan import Plan
    from midcut.results.stream import Summary

LINES = 16
"""Curves up to which a figure can be read."""
ROWS = 60
"""Jobs up to which they are listed."""
_LAWS = (
    Column("law", "normalisation", number=False),
    Column("model", "model", number=False),
    Column("a", "a", number),
    Column("b", "b", lambda value: f"{value:.3f}"),
    Column("upper_s", "upper [ms per layer]", milliseconds),
    Column("lower_s", "lower [ms per layer]", milliseconds),
    Column("r2", "R²", lambda value: f"{value:.4f}"),
    Column("mean_error", "mean error", percent),
    Column("max_error", "max error", percent),
)
_JOBS = (
    Column("job", "job"),
    Column("overrides", "overrides", number=False),
    Column("planner", "planner", label, number=False),
    Column("latency_s", "latency [ms]", milliseconds),
    Column("cost_usd", "cost [µ$]", microdollars),
    Column("error", "error", number=False, below=True),
)
_PLANS = (
    Column("run", "run", number=False),
    Column("model", "model", number=False),
    Column("w", "w", weight),
    Column("limit", "limit", number=False),
    Column("met", "limit met", lambda value: "yes" if value else "no", number=False),
    Column("cut", "cut"),
    Column("codec", "codec", number=False),
    Column("after", "after", number=False),
    Column("edge_s", "edge [ms]", milliseconds),
    Column("link_s", "link [ms]", milliseconds),
    Column("cloud_s", "cloud [ms]", milliseconds),
    Column("latency_s", "latency [ms]", milliseconds),
    Column("cost_usd", "cost [µ$]", microdollars),
)
_STREAMS = (
    Column("run", "run", number=False),
    Column("model", "model", number=False),
    Column("requests", "requests"),
    Column("latency_median_s", "latency, median [ms]", milliseconds),
    Column("latency_p95_s", "95 % under [ms]", milliseconds),
    Column("cost_median_usd", "cost, median [µ$]", microdollars),
    Column("switches", "switches"),
    Column("fallbacks", "fallbacks"),
    Column("latency_error", "latency predicted, off by", percent),
    Column("cost_error", "cost predicted, off by", percent),
    Column("accuracy", "right", percent),
)


def sweeps_section(sweeps: Sequence[Sweep]) -> Section | None:
    """Every multirun: what was swept, what came of it, what failed."""
    parts = tuple(_sweep(sweep, f"sweep-{place}") for place, sweep in enumerate(sweeps, start=1))
    return Section("sweeps", "Sweeps", sections=parts) if parts else None


def _sweep(sweep: Sweep, key: str) -> Section:
    failed = [job for job in sweep.jobs if job.status != "completed"]
    verbs = ", ".join(dict.fromkeys(job.verb for job in sweep.jobs))
    facts = {
        "verb": verbs,
        "jobs": f"{len(sweep.jobs)}" + (f", {len(failed)} failed" if failed else ""),
        "swept": "; ".join(f"{knob} over {_listed(values)}" for knob, values in swept_knobs(sweep.jobs).items()),
    }
    drawn = curves(sweep)
    picture = (
        (Picture(key, f"Latency and cost over {drawn[0]}; a point is a job.", draw_curves(*drawn)),)
        if drawn and 0 < len(drawn[1]) <= LINES
        else ()
    )
    rows = [
        (job.job, " ".join(job.overrides), planner or None, latency_s, cost_usd, None)
        for job in sweep.jobs
        for planner, (latency_s, cost_usd) in outcomes(job).items()
    ] + [(job.job, " ".join(job.overrides), None, None, None, job.error) for job in failed]
    listed = [rows[place] for place in range(len(rows)) if len(rows) <= ROWS or rows[place][-1] is not None]
    used = [place for place in range(len(_JOBS)) if any(row[place] is not None for row in listed)]
    table = Table("jobs", tuple(_JOBS[i] for i in used), [tuple(row[i] for i in used) for row in listed])
    notes = () if len(listed) == len(rows) else (f"{len(rows)} results; each is a line in {sweep.name}/sweep.jsonl.",)
    title = f"midcut {verbs} -m, {len(sweep.jobs)} jobs"
    return Section(key, title, facts=facts | {"folder": sweep.name}, tables=(table,) if listed else (),
                   pictures=picture, notes=notes)  # fmt: skip


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values) if len(values) <= 6 else f"{len(values)} values from {values[0]} to {values[-1]}"


def fits_section(fits: Mapping[str, Fit]) -> Section | None:
    """Every fit of the clock law."""
    parts = []
    for place, (name, one) in enumerate(fits.items(), start=1):
        rows = [
            (
                kind.value, model, law.a, law.b, *((None, None) if kind.value == "loglog" else (law.upper, law.lower)),
                whole.r2, whole.mean_error, whole.max_error,
            )
            for kind, whole in one.laws.items()
            for model, law in whole.models.items()
        ]  # fmt: skip
        caption = "Seconds per layer = (a · MHz^b) · (upper − lower) + lower. R² and errors: on the points left out."
        picture = Picture(
            f"fit-{place}",
            f"Normalised seconds per layer over the clock on {one.device}"
            + ("; filled points were fitted, hollow ones validate." if one.points else "; the points were not kept."),
            draw_fit(one),
        )
        facts = {
            "device": one.device + (" (modelled, not measured)" if one.modelled else ""),
            "clocks": f"{one.clock_min_mhz:g} to {one.clock_max_mhz:g} MHz",
            "points": f"{one.fitted} fitted, {one.validated} left out",
            "folder": name,
        }
        parts.append(Section(f"fit-{place}", f"Clock law of {one.device}", facts=facts,
                             tables=(Table("laws", _LAWS, rows, caption),), pictures=(picture,)))  # fmt: skip
    return Section("fits", "The clock law", sections=tuple(parts)) if parts else None


def plans_section(plans: Mapping[str, Plan]) -> Section | None:
    """Single plans: the pick, and every cut."""
    if not plans:
        return None
    rows = [
        (
            name,
            one.model,
            one.w,
            None if one.limit is UNSET else one.limit,
            None if one.met is UNSET else one.met,
            one.cut,
            one.codec,
            one.after,
            one.edge_s,
            one.link_s,
            one.cloud_s,
            one.latency_s,
            one.cost_usd,
        )
        for name, one in plans.items()
    ]  # fmt: skip
    pictures = [
        Picture(f"plan-{place}", f"{name}: {one.model}, {_circumstances(one)}.", draw_plan(one))
        for place, (name, one) in enumerate(plans.items(), start=1)
    ]
    used = [place for place in range(len(_PLANS)) if any(row[place] is not None for row in rows)]
    table = Table(
        "plans", tuple(_PLANS[i] for i in used), [tuple(row[i] for i in used) for row in rows],
        "What was picked for one observation, as predicted.",
    )  # fmt: skip
    return Section("plans", "Plans", tables=(table,), pictures=tuple(pictures))


def _circumstances(plan: Plan) -> str:
    """Weight or limit, and what was observed."""
    weight = [] if plan.w is None else [f"w = {plan.w:g}"]
    limit = [] if plan.limit is UNSET else [f"{plan.limit}{'' if plan.met else ' (not met)'}"]
    observed = [f"{name} {value:g}" for name, value in plan.observation.items() if value is not None]
    return ", ".join((*weight, *limit, *observed))


def streams_section(streams: Mapping[str, Stream]) -> Section | None:
    """What edges really measured."""
    if not streams:
        return None
    rows = [_stream(name, one.summary) for name, one in streams.items()]
    used = [place for place in range(len(_STREAMS)) if any(row[place] is not None for row in rows)]
    table = Table(
        "streams", tuple(_STREAMS[i] for i in used), [tuple(row[i] for i in used) for row in rows],
        "Measured, not simulated. Predicted: median of |predicted − measured| / measured.",
    )  # fmt: skip
    pictures = [
        Picture(
            f"stream-{place}",
            f"{name}: telemetry, cut, latency and cost over time.",
            draw_streams({one.summary.model: one.records}),
        )
        for place, (name, one) in enumerate(streams.items(), start=1)
        if one.records
    ]
    return Section("streams", "Streams", tables=(table,), pictures=tuple(pictures))


def _stream(name: str, summary: Summary) -> tuple[Any, ...]:
    error = summary.prediction_error
    return (
        name, summary.model, summary.requests, summary.latency_s.median, summary.latency_s.p95, summary.cost_usd.median,
        summary.switches, summary.fallbacks, error.latency_s, error.cost_usd, summary.accuracy,
    )  # fmt: skip
