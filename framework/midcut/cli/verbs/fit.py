"""`midcut fit`: the paper's clock law, or seconds per kind of node, fitted to profiles of several models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from hydra.core.hydra_config import HydraConfig
from rich.table import Table

from midcut.cli.tables import table_console
from midcut.config.build import settings_of
from midcut.config.settings import FitConfig
from midcut.profiles import Role, find_profiles, write_fit, write_layer_fit
from midcut.profiles.clock_law import FILE
from midcut.profiles.fitting import fit
from midcut.profiles.layer_fit import FILE as LAYERS_FILE
from midcut.profiles.layer_fitting import fit_layers
from midcut.reporting import check_installed
from midcut.terms import FitWhat

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.profiles import Fit


def run(cfg: DictConfig) -> dict[str, Any]:
    """Fit, write the fit (with a figure for the clock law), and print the table.

    Returns:
        where the fit is, and its laws; a sweep records it.
    """
    settings = settings_of(cfg, FitConfig)
    return _fit_layers(settings) if settings.what is FitWhat.layers else _fit_clock(settings)


def _fit_layers(settings: FitConfig) -> dict[str, Any]:
    profiles = [profile for spec in settings.profiles for profile in find_profiles(spec, settings.role)]
    fitted = fit_layers(profiles, settings.features)
    path = write_layer_fit(fitted, _output_path(settings, LAYERS_FILE))
    rich = Table("kind", "nodes", "median error", box=None, pad_edge=False)
    for column in rich.columns[1:]:
        column.justify = "right"
    for kind, law in fitted.kinds.items():
        rich.add_row(kind, str(law.nodes), f"{law.error:.1%}")
    console = table_console()
    console.print(
        f"{fitted.device} as {fitted.role}, {len(fitted.models)} models: {', '.join(fitted.models)}", soft_wrap=True
    )
    console.print(rich)
    console.print(f"written: {path}", highlight=False, soft_wrap=True)
    return {"fit": str(path), "kinds": msgspec.to_builtins(fitted.kinds)}


def _output_path(settings: FitConfig, name: str) -> Path:
    return Path(settings.out).expanduser() if settings.out else Path(HydraConfig.get().runtime.output_dir) / name


def _fit_clock(settings: FitConfig) -> dict[str, Any]:
    check_installed("the figure")
    from midcut.reporting.figures_fit import draw_fit  # noqa: PLC0415 - matplotlib, which may not be installed
    from midcut.reporting.style import figure_style, save_figure  # noqa: PLC0415

    profiles = [profile for spec in settings.profiles for profile in find_profiles(spec, Role.edge)]
    fitted = fit(profiles, settings.seed)
    path = write_fit(fitted, _output_path(settings, FILE))
    plots = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    with figure_style():
        save_figure(draw_fit(fitted), *plots)
    _print_table(fitted)
    table_console().print(f"written: {', '.join(map(str, (path, *plots)))}", highlight=False, soft_wrap=True)
    return {"fit": str(path), "laws": msgspec.to_builtins(fitted.laws, str_keys=True)}


def _print_table(fitted: Fit) -> None:
    title = (
        f"{fitted.device}{' (modelled)' if fitted.modelled else ''}, "
        f"{fitted.clock_min_mhz:g} to {fitted.clock_max_mhz:g} MHz, "
        f"{fitted.fitted} points fitted, {fitted.validated} left out\n"
        "slope = a · MHz^b · (upper - lower) + lower; upper, lower in ms a layer; R² and errors of the points left out"
    )
    columns = ("law", "model", "a", "b", "upper", "lower", "R²", "mean error", "max error")
    rich = Table(*columns, box=None, pad_edge=False)
    for column in rich.columns[2:]:
        column.justify = "right"
    for name, law in fitted.laws.items():
        r2 = "" if law.r2 is None else f"{law.r2:.4f}"
        whole = (r2, f"{law.mean_error:.1%}", f"{law.max_error:.1%}")
        for position, (model, curve) in enumerate(law.models.items()):
            bounds = ("", "") if name == "loglog" else (f"{curve.upper * 1e3:.4f}", f"{curve.lower * 1e3:.4f}")
            rich.add_row(
                "" if position else name.value, model, f"{curve.a:.3g}", f"{curve.b:.4f}", *bounds,
                *(("", "", "") if position else whole),
            )  # fmt: skip
    console = table_console()
    console.print(title, highlight=False, soft_wrap=True)
    console.print(rich)
