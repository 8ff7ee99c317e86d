"""Reads an exported folder, and checks that it is whole and unchanged."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from midcut.errors import GraphError
from midcut.exported.manifest import EXAMPLE, FORMAT, GRAPHS, MANIFEST, WEIGHTS, Manifest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_BETTER = "midcut export model=NAME out=FOLDER writes one"


FileState: TypeAlias = tuple[int, ...]


class _Version(msgspec.Struct):
    format: str = ""


@dataclass(frozen=True)
class ExportedFolder:
    """An exported model whose files were checked.

    Attributes:
        files: what the system knew of each file before it was checked; another file or a change shows in it.
    """

    path: Path
    manifest: Manifest
    files: dict[str, FileState]

    def check_unchanged(self) -> None:
        """Check that the folder has the files that were checked: a later export, or a copy, may have replaced them.

        Raises:
            GraphError: it does not.
        """
        try:
            changed = next((name for name in self.files if _state(self.path / name) != self.files[name]), "")
        except OSError:
            changed = GRAPHS
        if changed:
            raise GraphError(f"{self.path} was exported anew or changed since it was loaded; start again to use it")

    def graph(self, name: str) -> bytes:
        """An ONNX graph, without its weights."""
        with zipfile.ZipFile(self.path / GRAPHS) as archive:
            return archive.read(name)

    def weights(self) -> NDArray[np.uint8]:
        """All weights; what is not used is not read."""
        size = (self.path / WEIGHTS).stat().st_size
        return np.memmap(self.path / WEIGHTS, np.uint8, "r") if size else np.zeros(0, np.uint8)

    def example(self) -> tuple[NDArray[Any], ...]:
        """The model's inputs of batch size 1."""
        arrays = load_file(self.path / EXAMPLE)
        return tuple(arrays[str(position)] for position in range(len(arrays)))


def read_folder(path: Path) -> ExportedFolder:
    """Read the manifest, and compare every file with its digest.

    Raises:
        GraphError: this is no exported folder, it is of another version, or a file is missing or was changed.
    """
    try:
        state = _state(path / MANIFEST)
        content = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise GraphError(f"{path} is no exported model: {MANIFEST}: {error.strerror}; {_BETTER}") from None
    try:
        version = msgspec.json.decode(content, type=_Version).format
        if version != FORMAT:
            raise GraphError(f"{path} has format {version[:40]!r}, this midcut reads {FORMAT!r}; export it again")
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise GraphError(f"{path} is no exported model: {MANIFEST}: {error}; {_BETTER}") from None
    states = {MANIFEST: state}
    for name in (GRAPHS, WEIGHTS, EXAMPLE):
        try:
            states[name] = _state(path / name)
            changed = digest(path / name) != manifest.digests.get(name)
        except OSError as error:
            raise GraphError(f"{path / name}: {error.strerror}; copy the whole folder, or export it again") from None
        if changed:
            raise GraphError(f"{path / name} was changed after the export; copy it anew, or export it again")
    folder = ExportedFolder(path, manifest, states)
    try:
        folder.example()
    except (SafetensorError, KeyError) as error:
        raise GraphError(f"{path / EXAMPLE}: {error}; export it again") from None
    return folder


def _state(path: Path) -> FileState:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def digest(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
