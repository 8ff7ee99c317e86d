"""`midcut schedule`: several applications with deadlines on device, edge and cloud. Needs profiles and no torch."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from hydra.core.hydra_config import HydraConfig
from rich.table import Table

from midcut.cli.tables import table_console
from midcut.config.build import settings_of
from midcut.config.settings import Method, ScheduleConfig
from midcut.errors import ConfigError
from midcut.planning.cuts import legal_cuts
from midcut.profiles import find_profile, one_image_at_a_time
from midcut.results.schedule import FILE, MethodResult, ScheduledApplication, ScheduleResult, write_schedule
from midcut.simulation.schedulers import PsoGa, Schedule, dynamic_programme, exhaustive, greedy, two_cuts_of
from midcut.simulation.tiers import DEVICE, Application, Tiers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from omegaconf import DictConfig

    from midcut.config.settings import ApplicationSettings
    from midcut.types import Floats

_REFERENCES = {
    "dp": "dp, the optimum of all placements",
    "exhaustive": "exhaustive, the optimum of two cuts each",
    "bound": "each application's optimum alone, a lower bound",
}


def run(cfg: DictConfig) -> dict[str, Any]:
    """Schedule by every method; write `schedule.json` into the run directory and print the table.

    Returns:
        the result; a sweep records it.
    """
    settings = settings_of(cfg, ScheduleConfig)
    if not settings.applications:
        raise ConfigError("applications is empty: give e.g. applications='[{model: alexnet, deadline_s: 0.3}]'")
    applications = [_application(wanted, settings) for wanted in settings.applications]
    prices = (settings.device.usd_per_hour, settings.edge.usd_per_hour, settings.cloud.usd_per_hour)
    first, second = settings.first_hop, settings.second_hop
    tiers = Tiers(
        prices,
        (first.bandwidth_kbps, second.bandwidth_kbps),
        (first.ping_ms, second.ping_ms),
        (first.usd_per_gb, second.usd_per_gb),
    )
    result = _schedule(applications, tiers, settings)
    path = write_schedule(Path(HydraConfig.get().runtime.output_dir) / FILE, result)
    _print_result(result, path)
    return dict(msgspec.to_builtins(result))


def _application(wanted: ApplicationSettings, settings: ScheduleConfig) -> Application:
    table = find_profile(settings.device.profile, settings.device.role, wanted.model).table
    cuts = sorted({0, *legal_cuts(table, settings.cuts), table.last})
    columns = []
    for tier in (settings.device, settings.edge, settings.cloud):
        profile = find_profile(tier.profile, tier.role, wanted.model)
        one_image_at_a_time(profile)
        if len(profile.table.nodes) != len(table.nodes):
            raise ConfigError(
                f"profile {tier.profile!r} of {wanted.model!r} has {len(profile.table.nodes)} nodes, "
                f"{settings.device.profile!r} has {len(table.nodes)}: profile it again as it is captured now"
            )
        fastest = max(profile.runs, key=lambda run: run.clock_mhz or 0.0)
        before = np.concatenate([[0.0], np.cumsum(fastest.node_s)])
        columns.append(np.diff(before[cuts]) / tier.faster)
    sent = [float(table.cuts[cut].payload_bytes) if cut != table.last else 0.0 for cut in cuts]
    layer_s = np.array(columns)
    return Application(wanted.model, layer_s, np.array(sent), _deadline_s(wanted, layer_s))


def _deadline_s(wanted: ApplicationSettings, layer_s: Floats) -> float:
    if wanted.deadline_s is not None and wanted.deadline_share is not None:
        raise ConfigError(f"application {wanted.model!r}: give deadline_s or deadline_share, not both")
    if wanted.deadline_share is not None:
        return wanted.deadline_share * float(layer_s[DEVICE].sum())
    return np.inf if wanted.deadline_s is None else wanted.deadline_s


def _schedule(applications: Sequence[Application], tiers: Tiers, settings: ScheduleConfig) -> ScheduleResult:
    found = list(_found(applications, tiers, settings))
    reference, schedule = _reference(applications, tiers, {method: each for method, _, each, _ in found})
    met = reference == "bound" or schedule.outcome.feasible
    usd = schedule.outcome.usd
    return ScheduleResult(
        applications=tuple(
            ScheduledApplication(
                model=each.name,
                deadline_s=each.deadline_s if np.isfinite(each.deadline_s) else None,
                layers=each.layers,
                device_s=float(each.layer_s[DEVICE].sum()),
            )
            for each in applications
        ),
        reference=reference,
        reference_usd=usd,
        reference_met=met,
        results=tuple(
            MethodResult(
                method=method.value,
                seed=seed,
                placements=each.placements,
                end_s=each.outcome.end_s,
                cost_usd=each.outcome.usd,
                late_s=each.outcome.late_s,
                gap=_gap(each.outcome.usd, usd) if met and each.outcome.feasible else None,
                wall_s=wall_s,
            )
            for method, seed, each, wall_s in found
        ),
    )


def _gap(usd: float, reference_usd: float) -> float | None:
    if reference_usd > 0.0:
        return usd / reference_usd - 1.0
    return 0.0 if usd <= 0.0 else None  # no multiple of nothing


def _found(
    applications: Sequence[Application], tiers: Tiers, settings: ScheduleConfig
) -> Iterator[tuple[Method, int | None, Schedule, float]]:
    """Every method's schedule and the seconds of its search; that of pso_ga for every seed."""
    for method in settings.methods:
        for seed in range(settings.seeds) if method is Method.pso_ga else (None,):
            search = _search(method, seed, settings)
            start = perf_counter()
            schedule = search(applications, tiers)
            yield method, seed, schedule, perf_counter() - start


def _search(
    method: Method, seed: int | None, settings: ScheduleConfig
) -> Callable[[Sequence[Application], Tiers], Schedule]:
    if method is Method.pso_ga:
        return PsoGa(settings.particles, settings.iterations, seed or 0, settings.seeded)
    return {Method.exhaustive: exhaustive, Method.dp: dynamic_programme, Method.greedy: greedy}[method]


def _reference(
    applications: Sequence[Application], tiers: Tiers, found: dict[Method, Schedule]
) -> tuple[str, Schedule]:
    """The best that is known for certain: the optimum of one application, that of two cuts, or else a lower bound."""
    if len(applications) > 1 and Method.exhaustive in found:
        return "exhaustive", found[Method.exhaustive]
    best_alone = found.get(Method.dp) or dynamic_programme(applications, tiers)
    return "dp" if len(applications) == 1 else "bound", best_alone


def _print_result(result: ScheduleResult, path: Path) -> None:
    console = table_console()
    for application in result.applications:
        due = "no deadline" if application.deadline_s is None else f"due at {application.deadline_s * 1e3:.4g} ms"
        device_ms = f"{application.device_s * 1e3:.4g} ms on the device"
        console.print(f"{application.model}: {application.layers} layers, {device_ms}, {due}", highlight=False)
    rich = Table("method", "placements", "ends ms", "cost µ$", "late ms", "gap", "search ms", box=None, pad_edge=False)
    for column in rich.columns[2:]:
        column.justify = "right"
    for method in dict.fromkeys(each.method for each in result.results):
        runs = [each for each in result.results if each.method == method]
        best = min(runs, key=lambda each: (each.late_s, each.cost_usd))
        rich.add_row(
            method,
            ", ".join(map(_placement_text, best.placements)),
            ", ".join(f"{end * 1e3:.1f}" for end in best.end_s),
            f"{best.cost_usd * 1e6:.3f}",
            f"{best.late_s * 1e3:.1f}",
            "-" if best.gap is None else f"{best.gap:.1%}",
            f"{mean(each.wall_s for each in runs) * 1e3:.1f}",
        )
    console.print(rich)
    seeds = [each for each in result.results if each.seed is not None]
    if len(seeds) > 1:
        gaps = [each.gap for each in seeds if each.gap is not None]
        optimal = sum(gap <= 1e-9 for gap in gaps)
        in_time = sum(each.late_s == 0.0 for each in seeds)
        typical = f", median gap {median(gaps):.1%}" if gaps else ""
        text = f"pso_ga, {len(seeds)} seeds: optimum in {optimal}, deadlines met in {in_time}{typical}"
        console.print(text, highlight=False)
    missed = "" if result.reference_met else ", which misses a deadline itself"
    console.print(f"gap: money over that of {_REFERENCES[result.reference]}{missed}", highlight=False)
    console.print(f"written: {path}", highlight=False, soft_wrap=True)


def _placement_text(placement: tuple[int, ...]) -> str:
    """Two cuts, or one letter a layer where the placement goes back to an earlier tier."""
    cuts = two_cuts_of(placement)
    return f"({cuts[0]}, {cuts[1]})" if cuts else "".join("dec"[tier] for tier in placement)
