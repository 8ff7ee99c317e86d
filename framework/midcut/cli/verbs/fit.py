"""`midcut fit`: the clock law of the paper's Figure 4, fitted to profiles of several models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from hydra.core.hydra_config import HydraConfig
from rich.console import Console
from rich.table import Table

from midcut.config.build import settings_of
from midcut.config.settings import FitConfig
from midcut.profiles import Role, find_profiles, write_fit
from midcut.profiles.clock_law import FILE
from midcut.profiles.fitting import fit
from midcut.reporting import check_installed

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.profiles import Fit


def run(cfg: DictConfig) -> dict[str, Any]:
    """Fit, write `fit.json`, `fit.png` and `fit.svg`, and print the table.

    Returns:
        where the fit is, and its laws; a sweep records it.
    """
    settings = settings_of(cfg, FitConfig)
    check_installed("the figure")
    from midcut.reporting.figures_fit import draw_fit  # noqa: PLC0415 - matplotlib, which may not be installed
    from midcut.reporting.style import figure_style, save_figure  # noqa: PLC0415

    profiles = [profile for spec in settings.profiles for profile in find_profiles(spec, Role.edge)]
    fitted = fit(profiles, settings.seed)
    folder = Path(HydraConfig.get().runtime.output_dir)
    path = write_fit(fitted, Path(settings.out).expanduser() if settings.out else folder / FILE)
    plots = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    with figure_style():
        save_figure(draw_fit(fitted), *plots)
    _print_table(fitted)
    Console().print(f"written: {', '.join(map(str, (path, *plots)))}", highlight=False, soft_wrap=True)
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
    console = Console()
    console.print(title, highlight=False, soft_wrap=True)
    console.print(rich)
