"""The files of a folder that is streamed, their expected labels, and warnings about what does not match."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from midcut.errors import ConfigError, FileError
from midcut.serving.formats import suffixes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midcut.config.settings import InputFolder

_log = structlog.get_logger("midcut.stream")


def image_files(settings: InputFolder) -> list[Path]:
    """The folder's images, sorted by name, without repeats.

    Raises:
        ConfigError: `input.pattern` is absolute, or not a valid glob.
        FileError: there is no such folder, or no image in it.
    """
    files, images = _matching_files(settings), matching_images(settings)
    if not images and not settings.watch:
        wanted = f"file that matches {settings.pattern!r}"
        if settings.pattern is None:
            wanted = f"image ({', '.join(sorted(suffixes()))})" + (f", only {_by_suffix(files)}" if files else "")
        raise FileError(f"input.path={settings.path} holds no {wanted}")
    return images


def matching_images(settings: InputFolder) -> list[Path]:
    """The images that are there now, maybe none."""
    files = _matching_files(settings)
    return files if settings.pattern is not None else [path for path in files if path.suffix.lower() in suffixes()]


def read_labels(path: str | None) -> dict[str, str]:
    """Correct labels by file name or by path inside the folder; empty if `path` is None.

    Raises:
        FileError: the file cannot be read, or has no header `file,label`.
    """
    if path is None:
        return {}
    try:
        with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            if not {"file", "label"} <= set(rows.fieldnames or ()):
                raise FileError(f"input.labels={path} needs the header file,label, got {rows.fieldnames}")
            return {str(row["file"]).strip(): str(row["label"]).strip() for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"input.labels={path} cannot be read: {error}") from None


def expected_label(labels: Mapping[str, str], file: Path, folder: str) -> str | None:
    """The correct label of a file, None if none is given."""
    inside = file.relative_to(Path(folder).expanduser()).as_posix()
    return labels.get(inside, labels.get(file.name))


def warn_of_files_left_out(settings: InputFolder, images: Sequence[Path]) -> None:
    """Log which files of the folder are not streamed, if the user has not selected the files by a pattern."""
    if settings.pattern is not None:
        return
    own = None if settings.labels is None else Path(settings.labels).expanduser().resolve()
    left_out = [path for path in _matching_files(settings) if path not in set(images) and path.resolve() != own]
    folders = [path.name for path in Path(settings.path).expanduser().iterdir() if path.is_dir()]
    if left_out:
        _log.warning(
            "files left out", count=len(left_out), suffixes=_by_suffix(left_out), hint="input.pattern='*' takes all"
        )
    if folders:
        _log.warning("folders left out", names=", ".join(sorted(folders)[:5]), hint="input.pattern='**/*' takes all")


def warn_of_labels(
    labels: Mapping[str, str], images: Sequence[Path], known: Sequence[str], settings: InputFolder
) -> None:
    """Log labels that match no image, images without a label, and labels that the model never answers with."""
    expected = {path: expected_label(labels, path, settings.path) for path in images}
    missing = [path.name for path, label in expected.items() if label is None]
    if len(missing) == len(images):
        first = next(iter(labels), "nothing")
        _log.warning("the labels match no image", labels=settings.labels, first_label=first, first_image=missing[0])
    elif missing:
        _log.warning("images without a label", count=len(missing), first=missing[0])
    strange = sorted({label for label in expected.values() if label is not None and not _is_answer(label, known)})
    if strange:
        _log.warning(
            "labels that the model never answers with", count=len(strange), first=strange[0], classes=len(known) or "?"
        )


def _is_answer(label: str, known: Sequence[str]) -> bool:
    is_number = label.isascii() and label.isdigit()
    return label in known or (is_number and (not known or int(label) < len(known)))


def _matching_files(settings: InputFolder) -> list[Path]:
    folder = Path(settings.path).expanduser()
    if not folder.is_dir():
        raise FileError(f"input.path={settings.path} is not a folder")
    pattern = settings.pattern or "*"
    try:
        return sorted(path for path in folder.glob(pattern) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(f"input.pattern={pattern!r} is not a glob inside the folder: {error}") from None


def _by_suffix(files: Sequence[Path]) -> str:
    counts = Counter(path.suffix.lower() or "no suffix" for path in files)
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
