"""`midcut profile`: measures the seconds per node of one model on this machine, at every clock that can be set."""

from __future__ import annotations

import contextlib
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import torch
from hydra.core.hydra_config import HydraConfig
from msgspec.structs import replace
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from midcut.cli.coding_table import print_codings
from midcut.cli.tables import table_console
from midcut.component import Kind
from midcut.config.build import build, build_each, settings_of, single_name
from midcut.config.settings import ProfileConfig
from midcut.errors import ConfigError
from midcut.graph import partition
from midcut.profiles import Profile, write_profile
from midcut.profiles.agreement import check_pictures, measure_codings
from midcut.profiles.clocks import CpuClocks
from midcut.profiles.coding_rows import coded_cuts
from midcut.profiles.codings import settings_text
from midcut.profiles.file_names import file_name
from midcut.profiles.measuring import finish, measure, this_machine, versions
from midcut.profiles.power import EnergyMeter, PowerMeasurement, SampledEnergy, first_that_works
from midcut.profiles.segments import measuring_segments
from midcut.reporting import check_installed
from midcut.serving.picture_folder import picture_files, read_pictures
from midcut.terms import Role
from midcut.wire.oip import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from omegaconf import DictConfig

    from midcut.graph import Partition
    from midcut.profiles import Run
    from midcut.profiles.profile import Coding
    from midcut.protocols import Executor
    from midcut.types import LoadedModel

PRINTED_NODES = 10


def run(cfg: DictConfig) -> dict[str, Any]:
    """Measure one model and write its profile.

    Returns:
        the path of the profile, and the seconds of the whole model per clock, for the record of a sweep.
    """
    settings = settings_of(cfg, ProfileConfig)
    if settings.plot:
        check_installed("plot=true")
    name = single_name(Kind.MODEL, cfg.model, "profile")
    clocks = CpuClocks(Path(settings.cpufreq_root))
    clocks_mhz = _clocks_to_set(settings, clocks)
    torch.set_num_threads(settings.thread_count)
    model = build_each(Kind.MODEL, cfg.model)[name].load()
    captured = partition(model, settings.cuts)
    pictures = None if settings.agreement is None else _read_pictures(settings, model, captured)
    inputs = [torch.cat([value] * settings.batch) if value.dim() else value for value in model.example]
    with contextlib.ExitStack() as stack:
        meter = _energy_meter(settings, stack)
        executor = stack.enter_context(contextlib.closing(build(Kind.EXECUTOR, cfg.executor)))
        inside = getattr(executor, "full_speed", executor)  # of an emulated clock
        inside.prepare(captured, 0, captured.table.last)
        fused = inside if getattr(inside, "fused", False) else None
        runs = _measure_at_clocks(settings, captured, inputs, clocks, clocks_mhz, meter, fused)
    profile = Profile(
        model=captured.table.model,
        role=settings.role,
        table=captured.table,
        machine=this_machine(),
        versions=versions(),
        threads=settings.thread_count,
        batch=settings.batch,
        modelled=False,
        origin=f"measured by midcut profile; {model.note}".rstrip("; "),
        runs=tuple(runs),
        executor="" if fused is None else fused.identity,
    )
    if pictures is not None:
        codings = _measure_codings(cfg, captured, pictures, settings.stated_clock_mhz or clocks.current_mhz())
        profile = replace(profile, codings=codings)
    path = write_profile(profile, _output_path(settings, profile))
    if settings.plot:
        _draw_codecs(profile, path.with_suffix(".png"))
    _print_summary(profile, path)
    return {
        "model": profile.model,
        "profile": str(path),
        "whole_s": {f"{run.clock_mhz or 0:g}": run.whole_s for run in runs},
    }


def _measure_at_clocks(
    settings: ProfileConfig,
    captured: Partition,
    inputs: Sequence[torch.Tensor],
    clocks: CpuClocks,
    clocks_mhz: Sequence[float],
    meter: EnergyMeter | None,
    fused: Executor | None,
) -> list[Run]:
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True
    )
    runs = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(progress)
        if clocks_mhz:
            stack.enter_context(clocks.restored())
        bar = progress.add_task(
            captured.table.model, total=(settings.repeats + settings.warmup) * max(1, len(clocks_mhz))
        )
        for clock in clocks_mhz or (0.0,):
            if clock:
                clocks.set_mhz(clock)
                progress.update(bar, description=f"{captured.table.model} at {clock:g} MHz")
            power = None if meter is None else PowerMeasurement(meter, settings.power_idle_s)
            before_s = process_time()
            found = measure(
                captured,
                inputs,
                _clock_reader(clock or settings.stated_clock_mhz, clocks),
                repeats=settings.repeats,
                warmup=settings.warmup,
                advance=lambda: progress.advance(bar),
            )
            if fused is not None:
                passes = measuring_segments(captured, inputs, settings.role, found, fused, settings.repeats)
                found = finish(passes, lambda: None)
            if power is not None:
                busy_s = (process_time() - before_s) / settings.thread_count
                found = replace(found, power_w=power.busy_w(busy_s), idle_w=power.idle_w)
            runs.append(found)
    return runs


def _read_pictures(settings: ProfileConfig, model: LoadedModel, captured: Partition) -> Sequence[torch.Tensor]:
    """The pictures to measure codecs on, before anything else is measured, as they may be refused."""
    if settings.role is not Role.edge:
        raise ConfigError("agreement is measured for role=edge: that is where payloads are encoded")
    pictures = read_pictures(model, picture_files(str(settings.agreement), settings.pictures))
    check_pictures(captured, pictures)
    return pictures


def _measure_codings(
    cfg: DictConfig, captured: Partition, pictures: Sequence[torch.Tensor], clock_mhz: float | None
) -> tuple[Coding, ...]:
    codecs = {
        name: (codec, settings_text(cfg.codec[name]))
        for name, codec in build_each(Kind.CODEC, cfg.codec).items()
        if name != FILE
    }
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, transient=True) as progress:
        bar = progress.add_task(f"{captured.table.model}: codecs on pictures", total=len(pictures))
        return measure_codings(captured, pictures, codecs, clock_mhz, lambda: progress.advance(bar))


def _draw_codecs(profile: Profile, path: Path) -> None:
    from midcut.reporting.figures_codecs import draw_codecs  # noqa: PLC0415 - matplotlib, which profiling does not need
    from midcut.reporting.style import figure_style, save_figure  # noqa: PLC0415

    pictures = max(coding.pictures for coding in profile.codings or ())
    title = f"{profile.model} on {pictures} pictures, {profile.machine.name}"
    with figure_style():
        save_figure(draw_codecs(title, coded_cuts(profile)), path)


def _energy_meter(settings: ProfileConfig, stack: contextlib.ExitStack) -> EnergyMeter | None:
    """What counts joules here; None where power is not to be measured.

    Raises:
        ConfigError: no chosen source measures power on this machine.
    """
    if not settings.power:
        return None
    sources = build_each(Kind.TELEMETRY, settings.telemetry)
    for source in sources.values():
        stack.callback(source.close)
    name, source = first_that_works(sources)
    table_console().print(f"power by telemetry={name}", highlight=False)
    if isinstance(source, EnergyMeter):
        return source
    return stack.enter_context(SampledEnergy(source))


def _clock_reader(fixed_mhz: float | None, clocks: CpuClocks) -> Callable[[], float | None]:
    """A function that returns the clock: the one that was set or stated, or else the current one of the machine."""
    return (lambda: fixed_mhz) if fixed_mhz else clocks.current_mhz


def _clocks_to_set(settings: ProfileConfig, clocks: CpuClocks) -> list[float]:
    """Clocks to set, ascending; empty to leave the clock as it is.

    Raises:
        ConfigError: the config has clocks to set, but the machine does not allow that.
    """
    why_not = clocks.why_not_settable()
    if settings.clocks_mhz and why_not:
        raise ConfigError(f"clocks_mhz cannot be set here: {why_not}; clocks_mhz=null uses the current clock")
    if settings.stated_clock_mhz is not None and settings.clocks_mhz:
        raise ConfigError(
            "give either clocks_mhz, to set clocks, or stated_clock_mhz, the clock of this machine; not both"
        )
    if why_not or settings.stated_clock_mhz is not None:
        return []
    return sorted(set(settings.clocks_mhz or clocks.available_mhz()))


def _output_path(settings: ProfileConfig, profile: Profile) -> Path:
    """The configured file, or a file in the configured folder."""
    out = Path(settings.out or HydraConfig.get().runtime.output_dir).expanduser()
    return out if out.suffix == ".json" else out / f"{file_name(profile.model)}-{profile.role}.json"


def _print_summary(profile: Profile, path: Path) -> None:
    """Print the slowest nodes at the fastest clock, and the whole model at each clock."""
    fastest = profile.runs[-1]
    clock = f"{fastest.clock_mhz:g} MHz" if fastest.clock_mhz else "an unknown clock"
    title = f"{profile.model} as {profile.role} on {profile.machine.name}, {profile.threads} thread(s), at {clock}"
    table = Table("node", "op", "ms", "± IQR", "share", "sends kB", box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    total = sum(fastest.node_s)
    slowest = sorted(range(len(fastest.node_s)), key=lambda index: -fastest.node_s[index])[:PRINTED_NODES]
    for index in slowest:
        table.add_row(
            profile.table.nodes[index].name,
            profile.table.nodes[index].op,
            f"{fastest.node_s[index] * 1e3:.3f}",
            f"{fastest.node_spread_s[index] * 1e3:.3f}",
            f"{fastest.node_s[index] / total:.1%}",
            f"{profile.table.cuts[index + 1].payload_bytes / 1e3:.1f}",
        )
    console = table_console()
    console.print(title, highlight=False, soft_wrap=True)
    console.print(table)
    for run in profile.runs:
        at = f"{run.clock_mhz:g} MHz" if run.clock_mhz else "unknown clock"
        console.print(
            f"{at}: whole model {run.whole_s * 1e3:.3f} ms ± {run.whole_spread_s * 1e3:.3f}, "
            f"sum of {len(run.node_s)} nodes {sum(run.node_s) * 1e3:.3f} ms"
            + (f", {run.power_w:.2f} W computing, {run.idle_w:.2f} W idle" if run.power_w is not None else ""),
            highlight=False,
        )
    print_codings(profile, console)
    console.print(f"written: {path}", highlight=False, soft_wrap=True)
    if profile.batch != 1:
        console.print(
            f"measured with {profile.batch} images at once; predictors and fits need batch=1", highlight=False
        )
