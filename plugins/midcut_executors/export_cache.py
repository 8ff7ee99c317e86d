"""The folder with the ONNX export of one network: found by graph, weights and versions, and checked before use."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
import onnx_ir as ir
import structlog

from midcut.errors import ExecutorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midcut.types import Traceable

Names: TypeAlias = tuple[tuple[str | None, ...], ...]

_FORMAT: Final = "midcut-onnx/3"
_PACKAGES: Final = ("torch", "onnxscript", "onnx-ir")
_MODEL, _WEIGHTS, _INDEX = "model.onnx", "weights.bin", "index.json"
_log = structlog.get_logger("midcut.executor")


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file beside an export.

    Attributes:
        fingerprint: of graph and weights.
        versions: of the packages that made it.
        digests: file -> hash of its content.
        names: cut -> name of each value that crosses it; null for one that is not in the export.
        orders: name -> order of its dimensions in PyTorch's memory, where it is not the usual one.
    """

    fingerprint: str
    versions: dict[str, str]
    digests: dict[str, str]
    names: Names
    orders: dict[str, tuple[int, ...]]
    format: str = _FORMAT


class ExportCache:
    """The export of one network."""

    def __init__(self, folder: Path, model: str, fingerprint: str) -> None:
        self._versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
        self._fingerprint = fingerprint
        key = hashlib.blake2b(f"{_FORMAT} {fingerprint} {sorted(self._versions.items())}".encode(), digest_size=8)
        plain = "".join(letter if letter.isalnum() else "-" for letter in model)[:40]
        self._folder = folder / f"{plain}-{key.hexdigest()}"
        self._stand_in: tempfile.TemporaryDirectory[str] | None = None

    @property
    def model_file(self) -> Path:
        """The graph, beside its weights. It may be gone after this object."""
        return self._folder / _MODEL

    def holds(self, index: Index) -> bool:
        """Whether the files of an export are there; a user may empty the cache at any time."""
        return all((self._folder / name).exists() for name in index.digests)

    def read(self) -> Index | None:
        """What is known of the export; None if there is no export, or one that cannot be trusted."""
        index, why = self._find()
        if why:
            _log.warning("ONNX export in the cache is made anew", folder=str(self._folder), reason=why)
        return index

    def _find(self) -> tuple[Index | None, str]:
        """The index, or None and why what is there cannot be trusted; `""` if nothing is there."""
        try:
            if not self._folder.exists():
                return None, ""
            index = msgspec.json.decode((self._folder / _INDEX).read_bytes(), type=Index)
            if (index.fingerprint, index.format, index.versions) != (self._fingerprint, _FORMAT, self._versions):
                return None, "it is of another model, or made by other versions"
            if all(_digest(self._folder / name) == digest for name, digest in index.digests.items()):
                return index, ""
        except (OSError, msgspec.DecodeError) as error:
            return None, str(error)
        return None, "its content was changed"

    def write(self, model: ir.Model, traceable: Traceable) -> Index:
        """Write an export. A reader sees all of it, or nothing.

        Where the folder cannot be written, a temporary one stands in, for this process alone.

        Raises:
            ExecutorError: that cannot be written either.
        """
        try:
            return self._write(model, traceable)
        except OSError as error:
            _log.warning(
                "the ONNX export is not cached, so the next start makes it anew",
                folder=str(self._folder),
                reason=str(error),
                better="MIDCUT_CACHE=FOLDER names a folder that can be written",
            )
            try:
                self._stand_in = tempfile.TemporaryDirectory(prefix="midcut-onnx-")
                self._folder = Path(self._stand_in.name) / self._folder.name
                return self._write(model, traceable)
            except OSError as second:
                raise ExecutorError(f"the ONNX export cannot be written: {second}") from None

    def _write(self, model: ir.Model, traceable: Traceable) -> Index:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=self._folder.parent, prefix=".draft-"))
        try:
            ir.save(model, draft / _MODEL, external_data=_WEIGHTS)
            digests = {file.name: _digest(file) for file in draft.iterdir()}
            index = Index(self._fingerprint, self._versions, digests, traceable.at, dict(traceable.orders))
            (draft / _INDEX).write_bytes(msgspec.json.encode(index))
            with _locked(self._folder.parent):
                faster, _ = self._find()
                if faster is not None:  # another process may be using its export now
                    return faster
                shutil.rmtree(self._folder, ignore_errors=True)
                draft.rename(self._folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return index


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes that replace an export in the folder waiting."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def cache_folder() -> Path:
    """Where exports are stored: `$MIDCUT_CACHE`, or the user's cache folder."""
    given = os.environ.get("MIDCUT_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "midcut"
    return base / "onnx"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
