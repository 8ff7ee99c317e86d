"""The profiles and fits that come with midcut."""

from pathlib import Path

SHIPPED = Path(__file__).parent / "data"
"""Folder of what comes with midcut: `profiles/DEVICE/MODEL.json` and `fits/DEVICE.json`."""


def shipped_names(folder: str) -> list[str]:
    """Names of the devices that come with midcut, below `profiles` or `fits`."""
    return sorted(entry.stem for entry in (SHIPPED / folder).glob("*") if not entry.name.startswith("."))
