"""A plan of where to cut, by what a config describes or for a model that Python has."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import asdict

from midcut.api.composing import compose
from midcut.component import Kind
from midcut.config.build import build_each, settings_of
from midcut.config.settings import PlanConfig
from midcut.edge.telemetry.hub import TelemetryHub
from midcut.errors import ConfigError
from midcut.planning.assembly import build_policy
from midcut.planning.cuts import legal_cuts
from midcut.planning.placements import offered_placements
from midcut.profiles import Role, find_profile
from midcut.profiles.codings import build_measured_codecs
from midcut.profiles.filling import fill_profiles
from midcut.results.plan import Pick, PlanRow
from midcut.results.plan import Plan as PlanFile

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.planning.policy import Policy
    from midcut.types import CutTable, Decision, Forecast, Observation

_S_PER_MONTH = 730 * 3600.0


@dataclass(frozen=True)
class Plan:
    """Where to cut, and what every cut would take.

    Attributes:
        cut: nodes that run at the edge.
        codec: what the payload is sent as.
        rows: for each placement `cut`, `codec`, `latency_s`, `cost_usd`, `edge_s`, `link_s`, `cloud_s` and the
            objectives that were chosen: a table for `pandas.DataFrame(plan.rows)`.
        reason: one line for people.
        based_on: part of the latency -> where its seconds come from.
    """

    cut: int
    codec: str
    rows: list[dict[str, Any]]
    reason: str
    based_on: dict[str, str]


@dataclass(frozen=True)
class Planned:
    """A plan with all that it was made of."""

    table: CutTable
    policy: Policy
    decision: Decision
    plan: PlanFile

    @property
    def forecast(self) -> Forecast:
        return cast("Forecast", self.decision.forecast)  # a policy's decision has one

    @property
    def pick(self) -> Pick:
        return Pick(**{name: getattr(self.plan, name) for name in Pick.__struct_fields__})


def plan(*overrides: str) -> Plan:
    """Forecast every cut, and pick one, as `midcut plan OVERRIDES` does.

    Args:
        overrides: as on the command line, e.g. `"model=vgg16"`, `"planner.w=0.3"`,
            `"telemetry.constant.bandwidth_kbps=5000"`.

    Raises:
        MidcutError: an override or a value that is not possible; its text is one line.
    """
    with tempfile.TemporaryDirectory(prefix="midcut-plan-") as folder:
        planned = plan_once(compose("plan", overrides)[0], Path(folder))
    return make_plan(planned.decision, planned.policy)


def make_plan(decision: Decision, policy: Policy) -> Plan:
    """A policy's decision as a plan."""
    forecast = cast("Forecast", decision.forecast)
    rows = [forecast.row(index) for index in range(len(forecast))]
    placement = decision.placement
    return Plan(placement.cut, placement.codec, rows, decision.reason, policy.based_on)


def plan_once(cfg: DictConfig, folder: Path) -> Planned:
    """Plan by the config of `midcut plan`.

    Args:
        folder: for estimated profiles.
    """
    settings = settings_of(cfg, PlanConfig)
    model = fill_profiles(cfg, "plan", folder, settings.cloud_url)
    profile = find_profile(cfg.edge_profile, Role.edge, model)
    table = profile.table
    legal = legal_cuts(table, settings.cuts)
    offered = offered_placements(table, legal, build_measured_codecs(cfg, table), settings.tiers, cfg.accuracy_floor)
    policy = build_policy(cfg, offered, settings.reply_timeout_s)
    decision = policy.decide(_observe(cfg, policy))
    rows = _plan_rows(cast("Forecast", decision.forecast))
    pick = _make_pick(table, decision, rows[decision.index], settings.rate_hz)
    return Planned(
        table,
        policy,
        decision,
        PlanFile(**asdict(pick), based_on=policy.based_on, rows=rows, cut_errors=profile.runs[-1].cut_errors),
    )


def last_edge_node(table: CutTable, cut: int) -> str:
    """Name of the last node at the edge."""
    return table.nodes[cut - 1].name if cut else "input"


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
        after=last_edge_node(table, row.cut),
        observation=decision.observation.values(),
        planning_s=decision.planning_s,
        aim=cast("Forecast", decision.forecast).aim,
        usd_per_month=None if rate_hz is None or row.cost_usd is None else row.cost_usd * rate_hz * _S_PER_MONTH,
    )


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
