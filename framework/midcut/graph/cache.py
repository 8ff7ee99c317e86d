"""Captured models on disk, so that the next start need not capture and verify again. Nothing read is pickle.

An entry's name is a hash of everything that the capture depends on: the module with its weights, the source files of
its classes and of what lies beside them, the example, versions, and this package's own source. An entry that is damaged
or of another form is captured anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from midcut.graph.content import ContentHash, is_known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.config.settings import CutSettings
    from midcut.types import LoadedModel

_log = structlog.get_logger(__name__)
_MOST_ENTRIES: Final = 64
_DIGITS: Final = 32
_INSTALLED: Final = "/site-packages/"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A captured model.

    Attributes:
        graph: `graph_json.encode_graph`'s nodes; None for a graph of fx that calls functions of the user.
        any_batch: whether it was captured for any batch size.
        table: `CutTable`.
        expected: for every cut the fields of its `ExpectedValue`s.
        forms: register -> `form_json.encode_form`.
        copies: for every cut the registers to copy, each with the step that first writes into it.
        structure: of the output, as `pytree.treespec_dumps` writes it.
        settled: whether the module is the same before and after its first call.
        constants: SHA-256 of the file of constants, `""` if there is none.
    """

    graph: list[Any] | None
    any_batch: bool
    table: msgspec.Raw
    expected: list[list[tuple[str, str, list[int], list[int], bool]]]
    forms: dict[int, list[Any]]
    copies: list[list[tuple[int, int]]]
    structure: str
    settled: bool
    constants: str = ""


class CaptureCache:
    """Reads and writes entries in a folder.

    Args:
        folder: made when something is written.
        key: of the model, from `cache_key`.
    """

    def __init__(self, folder: str, key: str) -> None:
        self._folder = Path(folder).expanduser()
        self._entry = self._folder / f"{key}.json"
        self._constants = self._folder / f"{key}.safetensors"

    def load(self) -> tuple[Entry, dict[str, torch.Tensor]] | None:
        """Return the entry and its constants; None where there is none that can be used."""
        try:
            checksum, _, body = self._entry.read_bytes().partition(b"\n")
            if checksum.decode() != hashlib.sha256(body).hexdigest():
                raise ValueError("its checksum is wrong")  # noqa: TRY301 - handled as any other damage
            entry = msgspec.json.decode(body, type=Entry)
            return entry, self._read_constants(entry.constants)
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - a damaged file may raise anything
            _log.warning("a captured model is not used", file=str(self._entry), reason=" ".join(str(error).split()))
            return None

    def save(self, entry: Entry, constants: Mapping[str, torch.Tensor]) -> None:
        """Write an entry; a folder that cannot be written to is reported and does no harm."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if constants:
                with self._replacing(self._constants) as file:
                    save_file(dict(constants), file)
                entry = msgspec.structs.replace(entry, constants=_file_hash(self._constants))
            body = msgspec.json.encode(entry)
            with self._replacing(self._entry) as file:
                file.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            self._drop_oldest()
        except OSError as error:
            _log.warning("the captured model is not kept", folder=str(self._folder), reason=str(error))

    def _read_constants(self, checksum: str) -> dict[str, torch.Tensor]:
        if not checksum:
            return {}
        if _file_hash(self._constants) != checksum:
            raise ValueError(f"the checksum of {self._constants.name} is wrong")
        with safe_open(self._constants, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping

    @contextlib.contextmanager
    def _replacing(self, path: Path) -> Any:
        """Give a file beside `path` to write, and move it there when it is complete."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            written = Path(folder) / path.name
            yield written
            written.replace(path)

    def _drop_oldest(self) -> None:
        entries = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for entry in entries[:-_MOST_ENTRIES]:
            entry.unlink(missing_ok=True)
            entry.with_suffix(".safetensors").unlink(missing_ok=True)


def cache_key(model: LoadedModel, settings: CutSettings) -> str:
    """Hash everything that a capture depends on.

    Raises:
        GraphError: the module has content that cannot be seen, so that a change of it would not be noticed.
    """
    content = ContentHash(sources=False)  # whole files are hashed below
    content.note(f"{model.name} {settings.capture} {settings.order} {settings.verify} {_environment()}")
    content.add(model.module, type(model.module).__name__)
    content.add(list(model.example), "the example")
    content.note(f"inputs {[entry.text for entry in model.ranges]}")
    for path in sorted(_source_files(model.module)):
        content.note(f"source {path.name} {_file_hash(path)}")
    return hashlib.sha256(content.settings.digest() + content.weights.digest()).hexdigest()[:_DIGITS]


@cache
def _environment() -> str:
    """Versions, processor and this package's own source; the number of threads decides kernels, too."""
    own = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        own.update(path.read_bytes())
    return (
        f"{torch.__version__} {version('midcut')} {platform.python_version()} {platform.machine()} "
        f"{torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()} {own.hexdigest()}"
    )


def is_installed(module: torch.nn.Module) -> bool:
    """Whether all classes in a module come from installed packages. One of the user may read what no hash covers."""
    return all(_INSTALLED in file for file in _files_of_classes(module))


def _files_of_classes(module: torch.nn.Module) -> set[str]:
    classes = {base for part in module.modules() for base in type(part).__mro__ if not is_known(base)}
    return {_file_of(sys.modules.get(name)) for name in {kind.__module__ for kind in classes}}


def _source_files(module: torch.nn.Module) -> set[Path]:
    """Files of the classes in a module, and those of the user's other modules that are loaded from the same folders."""
    files = _files_of_classes(module)
    folders = {_folder_of(file) for file in files if _INSTALLED not in file}
    beside = {file for file in map(_file_of, list(sys.modules.values())) if _folder_of(file) in folders}
    return {path for path in map(Path, files | beside) if path.suffix == ".py" and path.is_file()}


def _folder_of(file: str) -> str:
    return file.rpartition("/")[0]


def _file_of(module: Any) -> str:
    """The file that a Python module was loaded from, `""` if there is none."""
    name = getattr(module, "__file__", None)
    return name if isinstance(name, str) else ""


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def usable_key(model: LoadedModel, settings: CutSettings) -> str:
    """`cache_key`, or `""` where the cache is off or the model has no key."""
    if settings.cache is None:
        return ""
    try:
        return cache_key(model, settings)
    except Exception as error:  # noqa: BLE001 - such as a lazy module that has no weights yet
        _log.info("the captured model is not kept", model=model.name, reason=" ".join(str(error).split()))
        return ""
