"""`midcut plan`: one observation, the forecast of every cut, and the pick. Needs a profile, no model, no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from msgspec.structs import asdict
from rich.table import Table

from midcut.cli.tables import table_console
from midcut.component import Kind
from midcut.config.build import build_each, settings_of
from midcut.config.settings import PlanConfig
from midcut.edge.telemetry.hub import TelemetryHub
from midcut.errors import ConfigError
from midcut.planning.assembly import build_codecs, build_policy
from midcut.planning.cuts import legal_cuts
from midcut.planning.placements import placements
from midcut.profiles import Role, find_profile
from midcut.profiles.filling import fill_profiles
from midcut.reporting import check_installed
from midcut.results.gains import alternatives, gains_text, mean_gains
from midcut.results.plan import FILE, PLOT, Pick, Plan, PlanRow, write_plan
from midcut.results.units import shown_column

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.planning.policy import Policy
    from midcut.types import CutTable, Decision, Forecast, Observation

_S_PER_MONTH = 730 * 3600.0


def run(cfg: DictConfig) -> dict[str, Any]:
    """Plan once; write `plan.json` into the run directory and print the table.

    Returns:
        the chosen row, what it was chosen on, and how long it took; a sweep records it.
    """
    if cfg.plot:
        check_installed("plot=true")
    settings = settings_of(cfg, PlanConfig)
    folder = Path(HydraConfig.get().runtime.output_dir)
    model = fill_profiles(cfg, "plan", folder, settings.cloud_url)
    table = find_profile(cfg.edge_profile, Role.edge, model).table
    policy = build_policy(
        cfg, placements(table, legal_cuts(table, settings.cuts), build_codecs(cfg)), settings.reply_timeout_s
    )
    observation = _observe(cfg, policy)
    decision = policy.decide(observation)
    forecast = cast("Forecast", decision.forecast)  # a policy's decision has one
    rows = _plan_rows(forecast)
    result = _make_pick(table, decision, rows[decision.index], settings.rate_hz)
    plan = Plan(**asdict(result), based_on=policy.based_on, rows=rows)
    write_plan(folder / FILE, plan)
    if cfg.plot:
        from midcut.reporting.figures_runs import draw_plan  # noqa: PLC0415 - matplotlib, which most jobs of a sweep do not need
        from midcut.reporting.style import figure_style, save_figure  # noqa: PLC0415

        with figure_style():
            save_figure(draw_plan(plan), folder / PLOT)
    if not _in_sweep():
        _print_table(table, decision, forecast, rows, policy)
        if result.usd_per_month is not None:
            text = f"{settings.rate_hz:g} requests a second cost {result.usd_per_month:,.2f} $ a month"
            table_console().print(text, highlight=False)
    return cast("dict[str, Any]", msgspec.to_builtins(result)) | result.objectives  # by name, for sweepers


def _observe(cfg: DictConfig, policy: Policy) -> Observation:
    with TelemetryHub(build_each(Kind.TELEMETRY, cfg.telemetry), cfg.max_age_s) as hub:
        hub.wait(cfg.wait_s)
        observation = hub.observe()
    if cfg.rate_hz is not None and observation.value("rate_hz") is None:
        observation = replace(observation, others={**observation.others, "rate_hz": float(cfg.rate_hz)})
    missing = sorted(name for name in policy.needs if observation.value(name) is None)
    if missing:
        why = "; ".join(f"{name}: {observation.missing.get(name, 'no source gave it')}" for name in missing)
        raise ConfigError(f"the predictors need what telemetry={list(cfg.telemetry)} did not give: {why}")
    return observation


def _make_pick(table: CutTable, decision: Decision, row: PlanRow, rate_hz: float | None) -> Pick:
    limited: dict[str, Any] = {"limit": decision.limit, "met": decision.met} if decision.limit else {}
    return Pick(
        model=table.model,
        w=decision.weight,
        **limited,
        **asdict(row),
        after=_last_edge_node(table, row.cut),
        observation=decision.observation.values(),
        planning_s=decision.planning_s,
        aim=cast("Forecast", decision.forecast).aim,
        usd_per_month=None if rate_hz is None or row.cost_usd is None else row.cost_usd * rate_hz * _S_PER_MONTH,
    )


def _last_edge_node(table: CutTable, cut: int) -> str:
    """Name of the last node at the edge."""
    return table.nodes[cut - 1].name if cut else "input"


def _plan_rows(forecast: Forecast) -> tuple[PlanRow, ...]:
    columns = zip(forecast.placements.layer.tolist(), forecast.placements.request_bytes.tolist(), strict=True)
    return tuple(
        _plan_row(forecast.row(index), set(forecast.objectives), layer=layer, request_bytes=request_bytes)
        for index, (layer, request_bytes) in enumerate(columns)
    )


def _plan_row(row: dict[str, Any], objectives: set[str], **columns: Any) -> PlanRow:
    return PlanRow(
        **{name: value for name, value in row.items() if name not in objectives},
        **columns,
        objectives={name: value for name, value in row.items() if name in objectives},
    )


def _in_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _print_table(
    table: CutTable, decision: Decision, forecast: Forecast, rows: tuple[PlanRow, ...], policy: Policy
) -> None:
    runner_up = policy.runner_up(decision)
    observed = {name: f"{value:g}" for name, value in decision.observation.values().items() if value is not None}
    weight = "" if decision.weight is None else f"w={decision.weight:g}, "
    title = f"{table.model}, {weight}" + ", ".join(f"{name} {value}" for name, value in observed.items())
    coded = any(row.codec != "raw" for row in rows)
    shown_columns = [shown_column(name) for name in forecast.objectives]
    columns = (
        "",
        "cut",
        "after",
        *(["codec"] if coded else []),
        "sent kB",
        "edge ms",
        "link ms",
        "cloud ms",
        "latency ms",
        "cost µ$",
        *(f"{shown.name} {shown.unit}".strip() for shown in shown_columns),
    )
    rich = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
    for column in rich.columns[3 + coded :]:
        column.justify = "right"
    columns_s = (forecast.edge_s, forecast.link_s, forecast.cloud_s, forecast.latency_s)
    for index, row in enumerate(rows):
        second = runner_up is not None and [row.cut, row.codec] == [runner_up["cut"], runner_up["codec"]]
        mark = ">" if index == decision.index else "." if second else ""
        rich.add_row(
            mark,
            str(row.cut),
            _last_edge_node(table, row.cut),
            *([row.codec if row.request_bytes else ""] if coded else []),
            f"{row.request_bytes / 1e3:.1f}",
            *(f"{seconds[index] * 1e3:.2f}" for seconds in columns_s),
            f"{forecast.cost_usd[index] * 1e6:.3f}",
            *(
                f"{values[index] * shown.factor:.2f}"
                for values, shown in zip(forecast.objectives.values(), shown_columns, strict=True)
            ),
            style="bold green" if mark == ">" else None,
        )
    console = table_console()
    console.print(rich)
    console.print(f"> {decision.reason}, in {decision.planning_s * 1e6:.0f} µs   . runner-up", highlight=False)
    picked = forecast.row(decision.index)
    gains = mean_gains([(picked, alternatives(forecast))])
    console.print(f"  {gains_text(gains)}", highlight=False, soft_wrap=True)
    for part, source in policy.based_on.items():
        console.print(f"{part}: {source}", highlight=False, soft_wrap=True)
