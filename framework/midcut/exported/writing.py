"""Writes an exported folder, next to an earlier one that it replaces."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from safetensors.numpy import save_file

from midcut.errors import FileError
from midcut.exported.folder import digest
from midcut.exported.manifest import EXAMPLE, FORMAT, GRAPHS, MANIFEST, WEIGHTS, Manifest, ValueForm
from midcut.tensors import to_numpy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.exported.manifest import SegmentWriter
    from midcut.graph import Partition
    from midcut.types import LoadedModel

_HERE: Final = -100  # AT_FDCWD
_EXCHANGE: Final = 2  # RENAME_EXCHANGE


def write_folder(
    model: LoadedModel,
    partition: Partition,
    writer: SegmentWriter,
    node_s: Sequence[float],
    versions: dict[str, str],
    path: Path,
) -> Manifest:
    """Export a captured model.

    Args:
        writer: writes the segments.
        node_s: seconds per node in PyTorch, whose proportions the edge's profile uses.
        path: the folder; an earlier export there is replaced when the new one is complete.

    Raises:
        FileError: there is something else than an export, or the folder cannot be written.
        ExecutorError: PyTorch cannot export the model.
    """
    if path.exists() and not (path / MANIFEST).exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileError(f"{path} is there already and is no export; out=FOLDER names another folder")
    try:
        path = path.resolve()  # what a link names is replaced, not the link
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=".export-"))
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}; out=FOLDER names another folder") from None
    try:
        saved = writer.save(partition, partition.legal, draft / GRAPHS, draft / WEIGHTS)
        save_file({str(position): to_numpy(value) for position, value in enumerate(model.example)}, draft / EXAMPLE)
        (draft / EXAMPLE).chmod(0o644)  # as the other files: an edge may run as another user
        description: dict[str, Any] | None = getattr(model.preprocess, "description", None)
        manifest = Manifest(
            format=FORMAT,
            versions=versions,
            table=msgspec.structs.replace(partition.table, ranges=(), output_ranges=()),  # the graphs are of one size
            legal=tuple(index for index in partition.legal if index not in saved.refused),
            expected=tuple(
                tuple(ValueForm(value.sizes, value.growth, value.any_size) for value in partition.expected(index))
                for index in range(len(partition.table.cuts))
            ),
            node_s=tuple(node_s),
            saved=saved,
            preprocess=description,
            labels=tuple(model.labels),
            note=model.note,
            digests={name: digest(draft / name) for name in (GRAPHS, WEIGHTS, EXAMPLE)},
        )
        (draft / MANIFEST).write_bytes(msgspec.json.encode(manifest))
        draft.chmod(0o755)
        _put_in_place(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # or, by now, the export that was replaced
    return manifest


def _put_in_place(draft: Path, path: Path) -> None:
    """Give a folder the name of another one, which gets its name: at no moment is there none."""
    if not path.exists():
        draft.rename(path)
    elif not _exchange(draft, path):
        # Two steps, where the system has no single one: a kill between them leaves the earlier export beside.
        earlier = draft.with_name(f"{draft.name}-earlier")
        path.rename(earlier)
        try:
            draft.rename(path)
        except OSError:
            earlier.rename(path)
            raise
        shutil.rmtree(earlier, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step, with Linux's renameat2; False where this cannot be done."""
    rename: Any = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(_HERE, bytes(one), _HERE, bytes(other), _EXCHANGE) == 0
