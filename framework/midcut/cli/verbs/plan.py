"""`midcut plan`: one observation, the forecast of every cut, and the pick. Needs a profile, no model, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from msgspec import UNSET
from rich.table import Table

from midcut.api.planning import last_edge_node, plan_once
from midcut.cli.tables import table_console
from midcut.config.build import settings_of
from midcut.config.settings import PlanConfig
from midcut.reporting import check_installed
from midcut.results.gains import MeanGains, alternatives, gains_text
from midcut.results.plan import FILE, PLOT, write_plan
from midcut.results.units import shown_column

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.api.planning import Planned
    from midcut.results.plan import PlanRow


_S_PER_MONTH = 730 * 3600.0


def run(cfg: DictConfig) -> dict[str, Any]:
    """Plan once; write `plan.json` into the run directory and print the table.

    Returns:
        the chosen row, what it was chosen on, and how long it took; a sweep records it.
    """
    if cfg.plot:
        check_installed("plot=true")
    settings = settings_of(cfg, PlanConfig)  # checks them
    folder = Path(HydraConfig.get().runtime.output_dir)
    planned = plan_once(cfg, folder)
    plan = planned.plan
    write_plan(folder / FILE, plan)
    if cfg.plot:
        from midcut.reporting.figures_runs import draw_plan  # noqa: PLC0415 - matplotlib, which most jobs of a sweep do not need
        from midcut.reporting.style import figure_style, save_figure  # noqa: PLC0415

        with figure_style():
            save_figure(draw_plan(plan), folder / PLOT)
    if not _in_sweep():
        _print_table(planned)
        if plan.usd_per_month is not None:
            text = f"{settings.rate_hz:g} requests a second cost {plan.usd_per_month:,.2f} $ a month"
            table_console().print(text, highlight=False)
    return cast("dict[str, Any]", msgspec.to_builtins(planned.pick)) | plan.objectives  # by name, for sweepers


def _in_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _print_table(planned: Planned) -> None:
    table, policy, decision, rows = planned.table, planned.policy, planned.decision, planned.plan.rows
    forecast = planned.forecast
    runner_up = policy.runner_up(decision)
    observed = {name: f"{value:g}" for name, value in decision.observation.values().items() if value is not None}
    weight = "" if decision.weight is None else f"w={decision.weight:g}, "
    title = f"{table.model}, {weight}" + ", ".join(f"{name} {value}" for name, value in observed.items())
    errors = planned.plan.cut_errors
    coded = any(row.codec != "raw" for row in rows)
    shown_columns = [shown_column(name) for name in forecast.objectives]
    columns = (
        "",
        "cut",
        "after",
        *(["codec"] if coded else []),
        "sent kB",
        *(f"{part.replace('_', ' ')} ms" for part in forecast.parts),
        "latency ms",
        "cost µ$",
        *(f"{shown.name} {shown.unit}".strip() for shown in shown_columns),
        *(["error"] if errors else []),
    )
    rich = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
    for column in rich.columns[3 + coded :]:
        column.justify = "right"
    columns_s = (*forecast.parts.values(), forecast.latency_s)
    onward = forecast.placements.onward
    for index, row in enumerate(rows):
        second = runner_up is not None and _is_row(row, runner_up)
        mark = ">" if index == decision.index else "." if second else ""
        rich.add_row(
            mark,
            str(row.cut) if onward is None else f"{row.cut}, {row.second_cut}",
            last_edge_node(table, row.cut),
            *([row.codec if row.request_bytes else ""] if coded else []),
            f"{row.request_bytes / 1e3:.1f}",
            *(f"{seconds[index] * 1e3:.2f}" for seconds in columns_s),
            f"{forecast.cost_usd[index] * 1e6:.3f}",
            *(
                f"{values[index] * shown.factor:.2f}"
                for values, shown in zip(forecast.objectives.values(), shown_columns, strict=True)
            ),
            *([f"{errors[row.cut]:.0e}" if row.cut in errors else ""] if errors else []),
            style="bold green" if mark == ">" else None,
        )
    console = table_console()
    console.print(rich)
    console.print(f"> {decision.reason}, in {decision.planning_s * 1e6:.0f} µs   . runner-up", highlight=False)
    picked = forecast.row(decision.index)
    gains = MeanGains()
    gains.add(picked, alternatives(forecast))
    console.print(f"  {gains_text(gains.gains())}", highlight=False, soft_wrap=True)
    for part, source in policy.based_on.items():
        console.print(f"{part}: {source}", highlight=False, soft_wrap=True)


def _is_row(row: PlanRow, forecast_row: dict[str, Any]) -> bool:
    """Whether a row of the plan is that of a forecast."""
    names = ("cut", "codec", "second_cut", "second_codec")
    return all(getattr(row, name) == forecast_row.get(name, UNSET) for name in names)
