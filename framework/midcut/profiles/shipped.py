"""Finds profiles and fits by path, or by the name of a device whose files come with midcut."""

from pathlib import Path

from midcut.errors import FileError

SHIPPED = Path(__file__).parent / "data"
"""Folder of the files that come with midcut: `profiles/DEVICE/MODEL.json` and `fits/DEVICE.json`."""


def find_path(what: str, spec: Path | str, hint: str) -> Path:
    """The path `spec` if it exists, else the shipped entry of the device of that name.

    Args:
        what: `profile` or `fit`.
        spec: a path or the name of a device.
        hint: how to get such a file, for the error message.

    Raises:
        FileError: neither exists; lists the devices that do.
    """
    path = Path(spec).expanduser()
    if path.exists():
        return path
    shipped = {entry.stem: entry for entry in (SHIPPED / f"{what}s").glob("[!.]*")}
    if str(spec) not in shipped:
        raise FileError(
            f"no {what} {str(spec)!r}: not a file, not a folder, not a shipped device ({', '.join(sorted(shipped))}); "
            f"{hint}"
        )
    return shipped[str(spec)]
