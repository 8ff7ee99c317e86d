"""`midcut export`: writes a model as a folder that `midcut edge model=exported` runs without PyTorch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from midcut.cli.tables import table_console
from midcut.component import Kind
from midcut.config.build import build, build_each, component_name, settings_of, single_name
from midcut.config.settings import ExportConfig
from midcut.errors import ConfigError
from midcut.exported.manifest import SegmentWriter
from midcut.exported.writing import write_folder
from midcut.graph import partition
from midcut.profiles.measuring import measure, versions

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PASSES = 5


def run(cfg: DictConfig) -> dict[str, Any]:
    """Export one model.

    Returns:
        the folder, for the record of a sweep.
    """
    settings = settings_of(cfg, ExportConfig)
    name = single_name(Kind.MODEL, cfg.model, "export")
    folder = Path(settings.out).expanduser()
    with contextlib.closing(build(Kind.EXECUTOR, cfg.executor)) as executor:
        if not isinstance(executor, SegmentWriter):
            chosen = component_name(Kind.EXECUTOR, cfg.executor)
            raise ConfigError(
                f"executor={chosen} cannot write a model as files; onnxruntime can: pip install 'midcut[onnx]'"
            )
        torch.set_num_threads(1)
        model = build_each(Kind.MODEL, cfg.model)[name].load()
        captured = partition(model, settings.cuts)
        passes = measure(captured, model.example, lambda: None, repeats=_PASSES, warmup=1, advance=lambda: None)
        manifest = write_folder(model, captured, executor, passes.node_s, versions(), folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    console = table_console()
    console.print(
        f"{model.name}: {len(manifest.legal)} of {len(captured.legal)} cuts, {size / 1e6:.1f} MB in {folder}",
        highlight=False,
        soft_wrap=True,
    )
    if manifest.saved.refused:
        cut, why = next(iter(manifest.saved.refused.items()))
        console.print(f"cut {cut} is left out, as others may be: {why}", highlight=False, soft_wrap=True)
    if manifest.preprocess is None:
        console.print(
            f"the preprocessing of {model.name} cannot be exported: the edge will take tensors only, no pictures",
            highlight=False,
            soft_wrap=True,
        )
    return {"model": model.name, "folder": str(folder)}
