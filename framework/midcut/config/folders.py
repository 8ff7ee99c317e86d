"""Finds the folders with YAML files: midcut's own, and the presets of plugins."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from midcut.config.registry import registry


def conf_dir() -> Path:
    """The folder of primary configs: inside the package if installed from a wheel, `conf/` in a checkout.

    Raises:
        FileNotFoundError: neither exists, so the installation is broken.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parents[1] / "conf"):
        if (candidate / "plan.yaml").is_file():
            return candidate
    raise FileNotFoundError(f"midcut's conf folder is neither in {package} nor beside its sources; reinstall midcut")


def presets(group: str) -> list[str]:
    """Names of a group's YAML files, in midcut's own folder and in those of plugins."""
    folders = [conf_dir(), *(_folder_on_disk(path) for _, path in registry().config_paths)]
    return sorted({file.stem for folder in folders if folder for file in (folder / group).glob("*.yaml")})


def _folder_on_disk(search_path: str) -> Path | None:
    """The folder that `pkg://a.b` or `file://...` stands for, which may not exist; None if its package does not."""
    scheme, _, place = search_path.partition("://")
    if scheme == "file":
        return Path(place)
    parent, _, last = place.replace("/", ".").rpartition(".")
    try:
        spec = importlib.util.find_spec(parent or last)
    except (ImportError, ValueError):
        return None
    locations = spec.submodule_search_locations if spec else None
    if not locations:
        return None
    return Path(locations[0], last) if parent else Path(locations[0])
