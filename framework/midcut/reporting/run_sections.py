"""The report's sections about sweeps, fits, plans and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from midcut.reporting.figures_fit import draw_fit
from midcut.reporting.figures_runs import draw_plan, draw_streams
from midcut.reporting.figures_weights import draw_sweep
from midcut.reporting.formatting import (
    as_number,
    as_percent,
    as_weight,
    in_microdollars,
    in_milliseconds,
    strategy_label,
)
from midcut.reporting.report_model import Column, Picture, Section, Table, objective_columns
from midcut.reporting.sweep_curves import job_outcomes, sweep_curves, swept_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.profiles import Fit
    from midcut.reporting.load import Stream, Sweep
    from midcut.results.plan import Plan
    from midcut.results.stream import Summary

MAX_CURVES = 16
"""Curves up to which a sweep's figure can be read."""
MAX_ROWS = 60
"""Results up to which a sweep's are listed."""
_LAWS = (
    Column("law", "normalisation", number=False),
    Column("model", "model", number=False),
    Column("a", "a", as_number),
    Column("b", "b", lambda value: f"{value:.3f}"),
    Column("upper_s", "upper [ms per layer]", in_milliseconds),
    Column("lower_s", "lower [ms per layer]", in_milliseconds),
    Column("r2", "R²", lambda value: f"{value:.4f}"),
    Column("mean_error", "mean error", as_percent),
    Column("max_error", "max error", as_percent),
)
_JOBS = (
    Column("job", "job"),
    Column("overrides", "overrides", number=False),
    Column("planner", "planner", strategy_label, number=False),
    Column("latency_s", "latency [ms]", in_milliseconds),
    Column("cost_usd", "cost [µ$]", in_microdollars),
    Column("error", "error", number=False, below=True),
)
_PLANS = (
    Column("run", "run", number=False),
    Column("model", "model", number=False),
    Column("w", "w", as_weight),
    Column("limit", "limit", number=False),
    Column("met", "limit met", lambda value: "yes" if value else "no", number=False),
    Column("cut", "cut"),
    Column("codec", "codec", number=False),
    Column("second_cut", "second cut"),
    Column("second_codec", "second codec", number=False),
    Column("after", "after", number=False),
    Column("edge_s", "edge [ms]", in_milliseconds),
    Column("link_s", "link [ms]", in_milliseconds),
    Column("relay_s", "relay [ms]", in_milliseconds),
    Column("second_link_s", "second link [ms]", in_milliseconds),
    Column("cloud_s", "cloud [ms]", in_milliseconds),
    Column("latency_s", "latency [ms]", in_milliseconds),
    Column("cost_usd", "cost [µ$]", in_microdollars),
)
_STREAMS = (
    Column("run", "run", number=False),
    Column("model", "model", number=False),
    Column("requests", "requests"),
    Column("latency_median_s", "latency, median [ms]", in_milliseconds),
    Column("latency_p95_s", "95 % under [ms]", in_milliseconds),
    Column("cost_median_usd", "cost, median [µ$]", in_microdollars),
    Column("switches", "switches"),
    Column("fallbacks", "fallbacks"),
    Column("latency_error", "latency prediction error", as_percent),
    Column("cost_error", "cost prediction error", as_percent),
    Column("accuracy", "right", as_percent),
)


def sweeps_section(sweeps: Sequence[Sweep]) -> Section | None:
    """Every multirun: what was swept, the results, and what failed."""
    sections = tuple(_sweep_section(sweep, f"sweep-{place}") for place, sweep in enumerate(sweeps, start=1))
    return Section("sweeps", "Sweeps", sections=sections) if sections else None


def _sweep_section(sweep: Sweep, key: str) -> Section:
    failed = [job for job in sweep.jobs if job.status != "completed"]
    verbs = ", ".join(dict.fromkeys(job.verb for job in sweep.jobs))
    facts = {
        "verb": verbs,
        "jobs": f"{len(sweep.jobs)}" + (f", {len(failed)} failed" if failed else ""),
        "swept": "; ".join(
            f"{setting} over {_values_text(values)}" for setting, values in swept_settings(sweep.jobs).items()
        ),
    }
    setting, curves = sweep_curves(sweep) or ("", ())
    pictures = (
        (Picture(key, f"Latency and cost over {setting}; a point is a job.", draw_sweep(setting, curves)),)
        if 0 < len(curves) <= MAX_CURVES
        else ()
    )
    rows = [
        (job.job, " ".join(job.overrides), planner or None, latency_s, cost_usd, None)
        for job in sweep.jobs
        for planner, (latency_s, cost_usd) in job_outcomes(job).items()
    ] + [(job.job, " ".join(job.overrides), None, None, None, job.error) for job in failed]
    listed = [rows[place] for place in range(len(rows)) if len(rows) <= MAX_ROWS or rows[place][-1] is not None]
    table = Table("jobs", _JOBS, listed).without_empty_columns()
    notes = () if len(listed) == len(rows) else (f"{len(rows)} results; all are in {sweep.name}/sweep.jsonl.",)
    title = f"midcut {verbs} -m, {len(sweep.jobs)} jobs"
    return Section(key, title, facts=facts | {"folder": sweep.name}, tables=(table,) if listed else (),
                   pictures=pictures, notes=notes)  # fmt: skip


def _values_text(values: Sequence[str]) -> str:
    return ", ".join(values) if len(values) <= 6 else f"{len(values)} values from {values[0]} to {values[-1]}"


def fits_section(fits: Mapping[str, Fit]) -> Section | None:
    """Every fit of the clock law."""
    sections = []
    for place, (folder, fit) in enumerate(fits.items(), start=1):
        rows = [
            (
                name.value, model, curve.a, curve.b,
                *((None, None) if name.value == "loglog" else (curve.upper, curve.lower)),
                law.r2, law.mean_error, law.max_error,
            )
            for name, law in fit.laws.items()
            for model, curve in law.models.items()
        ]  # fmt: skip
        caption = "Seconds per layer = (a · MHz^b) · (upper − lower) + lower. R² and errors: on the points left out."
        picture = Picture(
            f"fit-{place}",
            f"Normalised seconds per layer over the clock on {fit.device}"
            + ("; filled points were fitted, hollow ones validate." if fit.points else "; the file has no points."),
            draw_fit(fit),
        )
        facts = {
            "device": fit.device + (" (modelled, not measured)" if fit.modelled else ""),
            "clocks": f"{fit.clock_min_mhz:g} to {fit.clock_max_mhz:g} MHz",
            "points": f"{fit.fitted} fitted, {fit.validated} left out",
            "folder": folder,
        }
        sections.append(Section(f"fit-{place}", f"Clock law of {fit.device}", facts=facts,
                                tables=(Table("laws", _LAWS, rows, caption),), pictures=(picture,)))  # fmt: skip
    return Section("fits", "The clock law", sections=tuple(sections)) if sections else None


def plans_section(plans: Mapping[str, Plan]) -> Section | None:
    """Single plans: the pick, and the forecast of every placement."""
    if not plans:
        return None
    objectives = tuple(dict.fromkeys(name for plan in plans.values() for name in plan.objectives))
    rows = [
        (
            folder, plan.model, plan.w, _given(plan.limit), _given(plan.met), plan.cut, plan.codec,
            _given(plan.second_cut), _given(plan.second_codec), plan.after, plan.edge_s, plan.link_s,
            _given(plan.relay_s), _given(plan.second_link_s), plan.cloud_s, plan.latency_s, plan.cost_usd,
            *(plan.objectives.get(name) for name in objectives),
        )
        for folder, plan in plans.items()
    ]  # fmt: skip
    pictures = [
        Picture(f"plan-{place}", f"{folder}: {plan.model}, {_circumstances(plan)}.", draw_plan(plan))
        for place, (folder, plan) in enumerate(plans.items(), start=1)
    ]
    caption = "Predicted latency and cost of the picks, each for one observation."
    table = Table("plans", (*_PLANS, *objective_columns(objectives)), rows, caption).without_empty_columns()
    return Section("plans", "Plans", tables=(table,), pictures=tuple(pictures))


def _given(value: Any) -> Any:
    """A field of a plan; None where its file has none."""
    return None if value is UNSET else value


def _circumstances(plan: Plan) -> str:
    """The inputs of a plan: the planner's weight, its limit and the observation."""
    weight = [] if plan.w is None else [f"w = {plan.w:g}"]
    limit = [] if plan.limit is UNSET else [f"{plan.limit}{'' if plan.met else ' (not met)'}"]
    observed = [f"{name} {value:g}" for name, value in plan.observation.items() if value is not None]
    return ", ".join((*weight, *limit, *observed))


def streams_section(streams: Mapping[str, Stream]) -> Section | None:
    """What edges measured while they streamed folders of images."""
    if not streams:
        return None
    rows = [_stream_row(folder, stream.summary) for folder, stream in streams.items()]
    caption = "Measured, not simulated. Prediction error: median of |predicted − measured| / measured."
    table = Table("streams", _STREAMS, rows, caption).without_empty_columns()
    pictures = [
        Picture(
            f"stream-{place}",
            f"{folder}: telemetry, cut, latency and cost over time. Where the measured latency is more than its parts, "
            "the request waited for the edge's compute thread.",
            draw_streams({stream.summary.model: stream.records}),
        )
        for place, (folder, stream) in enumerate(streams.items(), start=1)
        if stream.records
    ]
    return Section("streams", "Streams", tables=(table,), pictures=tuple(pictures))


def _stream_row(folder: str, summary: Summary) -> tuple[Any, ...]:
    error = summary.prediction_error
    return (
        folder, summary.model, summary.requests, summary.latency_s.median, summary.latency_s.p95,
        summary.cost_usd.median, summary.switches, summary.fallbacks, error.latency_s, error.cost_usd, summary.accuracy,
    )  # fmt: skip
