"""Finds profiles and fits by path, or by the name of a device whose files come with midcut."""

from pathlib import Path

from midcut.errors import FileError

SHIPPED = Path(__file__).parent / "data"
"""Folder of the files that come with midcut: `profiles/DEVICE/MODEL.json` and `fits/DEVICE.json`."""


def find_path(what: str, spec: Path | str, hint: str) -> Path:
    """The shipped entry of the device of that name, else the path `spec`.

    A file or folder that has the name of a device is written as a path, `./cloud`: one that happens to be there must
    not change what the defaults mean.

    Args:
        what: `profile` or `fit`.
        spec: a path or the name of a device.
        hint: how to get such a file, for the error message.

    Raises:
        FileError: neither exists; lists the devices that do.
    """
    shipped = _shipped(what)
    if str(spec) in shipped:
        return shipped[str(spec)]
    path = Path(spec).expanduser()
    if not path.exists():
        raise FileError(
            f"no {what} {str(spec)!r}: not a file, not a folder, not a shipped device ({', '.join(sorted(shipped))}); "
            f"{hint}"
        )
    return path


def is_path(what: str, spec: str) -> bool:
    """Whether `spec` is an existing path and not the name of a device; `what` as for `find_path`."""
    return spec not in _shipped(what) and Path(spec).expanduser().exists()


def _shipped(what: str) -> dict[str, Path]:
    return {entry.stem: entry for entry in (SHIPPED / f"{what}s").glob("[!.]*")}
