"""The weights that a cloud may hold beside each other: which files there are, what is loaded, and why not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from midcut.errors import ConfigError, RepositoryError, UnknownModelError
from midcut.graph.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midcut.cloud.hosted import HostedModels
    from midcut.cloud.loading import VersionLoader
    from midcut.cloud.version import HostedVersion
    from midcut.config.settings import RepositorySettings
    from midcut.graph.segments import Segments
    from midcut.serving.threads import Threads

_log = structlog.get_logger("midcut.cloud")
_SUFFIX: Final = ".safetensors"
_MB: Final = 1_000_000


class State(StrEnum):
    """States of a version, in the words of the Open Inference Protocol."""

    ready = "READY"
    loading = "LOADING"
    unloading = "UNLOADING"
    unavailable = "UNAVAILABLE"


class _FileState(NamedTuple):
    """What changes when a file is written."""

    size_bytes: int
    modified_ns: int


@dataclass
class _FileRecord:
    """What is known of a file of weights.

    Attributes:
        file_state: of the file as it was loaded last; None if it never was.
        fingerprint: of what was loaded from it last; `""` if nothing was.
        reason: why it is in that state.
    """

    state: State = State.unavailable
    file_state: _FileState | None = None
    fingerprint: str = ""
    reason: str = "not loaded"


class Repository:
    """Loads and unloads versions while a cloud answers requests.

    Used on one event loop; only `load_at_start` is called before that loop runs.

    Args:
        hosted: gets the versions.
        loader: makes them.
        segments: runs them once before requests do.
        pool: one thread, on which versions are made one after the other.
        settings: folder and limits.
        batching: whether requests are computed together.
    """

    def __init__(
        self,
        hosted: HostedModels,
        loader: VersionLoader,
        segments: Segments,
        pool: Threads,
        settings: RepositorySettings,
        *,
        batching: bool,
    ) -> None:
        folder = Path(str(settings.folder)).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"repository.folder={settings.folder}: there is no such folder")
        self._hosted, self._loader, self._segments, self._pool = hosted, loader, segments, pool
        self._settings, self._folder, self._batching = settings, folder, batching
        self._records: dict[tuple[str, str], _FileRecord] = {}
        self._unloading: dict[tuple[str, str], HostedVersion] = {}
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def load_at_start(self) -> None:
        """Load every file, those changed last as the newest; what cannot be loaded is logged."""
        files = [(name, file) for name in self._names() for file in self._weight_files(name).values()]
        for name, file in sorted(files, key=lambda entry: entry[1].stat().st_mtime_ns):
            record = self._record_of(name, file)
            try:
                self._check_count()
                file_state = _file_state(file)
                version = self._pool.call(partial(self._make, name, file, trace=True))
            except RepositoryError as error:
                record.reason = str(error)
                _log.warning("not loaded", model=name, weights=file.name, reason=str(error))
            else:
                self._register(version, record, file_state)

    def index(self, *, ready: bool = False) -> list[dict[str, str]]:
        """The entries of POST /v2/repository/index: versions by fingerprint, files that are not loaded by their name.

        Args:
            ready: only what is loaded.
        """
        files = {(name, file.name) for name in self._names() for file in self._weight_files(name).values()}
        held = {version.key for version in self._hosted.versions()}
        entries = [
            _entry(name, fingerprint, State.ready, weights=self._weights_of(name, fingerprint))
            for name, fingerprint in held
        ]
        entries += [_entry(*key, State.unloading, "requests are being answered") for key in self._unloading]
        for name, file in sorted(files | set(self._records)):
            record = self._records.get((name, file), _FileRecord())
            if (name, record.fingerprint) in held and record.state is not State.loading:
                continue
            reason = record.reason if (name, file) in files else "the file is gone"
            entries.append(_entry(name, file, record.state, reason, file))
        entries.sort(key=lambda entry: (entry["name"], entry["version"]))
        return [entry for entry in entries if not ready or entry["state"] == State.ready]

    async def load(self, name: str, weights: str | None = None) -> None:
        """Load versions of a model; this continues even if the client that asked disconnects.

        Args:
            weights: name of a file, with or without its ending, which becomes the newest version even where it is
                loaded already; None loads each file that is new or has changed.

        Raises:
            UnknownModelError: there is no such file.
            RepositoryError: one cannot be loaded; the message says why.
        """
        files = self._weight_files(name)
        if weights is not None:
            chosen = files.get(weights.removesuffix(_SUFFIX))
            if chosen is None:
                there = ", ".join(file.name for file in files.values()) or "none"
                raise UnknownModelError(
                    f"no weights {weights[:200]!r} of model {name[:200]!r} here; there are: {there}"
                )
            await self._in_background(self._load(name, chosen))
            return
        if not files:
            there = ", ".join(self._names()) or "none"
            raise UnknownModelError(f"no weights of model {name[:200]!r} in this repository; it has some of: {there}")
        await self._in_background(self._load_new(name, files.values()))

    async def unload(self, name: str, version: str | None = None) -> None:
        """Hold a version no longer, and wait for the requests that use it.

        Args:
            version: its fingerprint, or the name of its file; None unloads all of that name.

        Raises:
            UnknownModelError: it is not held.
        """
        held = [each.fingerprint for each in self._hosted.versions() if each.name == name]
        record = self._records.get((name, f"{(version or '').removesuffix(_SUFFIX)}{_SUFFIX}"), _FileRecord())
        chosen = held if version is None else [each for each in held if each in (version, record.fingerprint)]
        if not chosen:
            there = ", ".join(held) or "none"
            which = "" if version is None else f"version {version[:200]!r} of "
            raise UnknownModelError(f"{which}model {name[:200]!r} is not loaded; loaded versions of it: {there}")
        for fingerprint in chosen:
            await self._in_background(self._unload(name, fingerprint))

    async def _load_new(self, name: str, files: Iterable[Path]) -> None:
        for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
            if self._loaded_version_of(name, file) is None:
                await self._load(name, file)

    async def close(self) -> None:
        """End what is under way."""
        self._loader.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Its exception is taken here, too, as nobody takes it where whoever asked has left.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(task)

    async def _load(self, name: str, file: Path) -> None:
        record, began = self._record_of(name, file), perf_counter()
        record.state, record.reason = State.loading, ""
        try:
            async with self._one_at_a_time:
                file_state = _file_state(file)  # before it is read: it may change meanwhile
                version = await self._make_anew(name, file)
                self._register(version, record, file_state)
        except OSError as error:
            record.state, record.reason = State.unavailable, f"{file.name} cannot be read: {error.strerror or error}"
            raise RepositoryError(record.reason) from None
        except BaseException as error:
            record.state, record.reason = State.unavailable, str(error) or "the cloud is shutting down"
            raise
        _log.info(
            "model loaded",
            model=name,
            version=version.fingerprint,
            weights=file.name,
            took_s=round(perf_counter() - began, 2),
        )

    async def _make_anew(self, name: str, file: Path) -> HostedVersion:
        """The version of a file; the one that is held where it has that fingerprint."""
        held = self._loaded_version_of(name, file)
        if held is not None:
            return held
        outcome = await self._pool.run(self._loader.capture, name, file)
        held = self._held_version(name, outcome.fingerprint)
        if held is not None:
            return held
        self._check_count()
        self._check_memory(outcome.weights_bytes)
        return await self._pool.run(self._make, name, file)

    def _make(self, name: str, file: Path, *, trace: bool = False) -> HostedVersion:
        """On the thread: load a version, and run it once."""
        version = self._loader.load(name, file, trace=trace)
        if trace:
            self._check_memory(version.weights_bytes)
        self._hosted.prepare(version, self._segments)
        if self._batching:
            version.batcher = Batcher(version.partition)
        return version

    def _register(self, version: HostedVersion, record: _FileRecord, file_state: _FileState) -> None:
        self._hosted.add(version)
        record.state, record.reason, record.file_state = State.ready, "", file_state
        record.fingerprint = version.fingerprint

    async def _unload(self, name: str, fingerprint: str) -> None:
        async with self._one_at_a_time:
            if self._held_version(name, fingerprint) is None:  # unloaded twice at once
                raise UnknownModelError(f"version {fingerprint} of model {name[:200]!r} is not loaded")
            version = self._hosted.remove(name, fingerprint)
            self._unloading[version.key] = version
            for record in self._records_with(name, fingerprint):
                record.state, record.reason = State.unavailable, "unloaded"
            try:
                await version.finish()
            finally:
                del self._unloading[version.key]
            await self._pool.run(self._segments.drop, version.partition)
        _log.info("model unloaded", model=name, version=fingerprint)

    def _check_count(self) -> None:
        count = sum(1 for _ in self._hosted.versions())
        if count >= self._settings.most_versions:
            raise RepositoryError(f"{count} versions are held, repository.most_versions allows no more: unload one")

    def _check_memory(self, size_bytes: int) -> None:
        held_bytes = sum(version.weights_bytes for version in self._hosted.versions())
        if held_bytes + size_bytes > self._settings.memory_mb * _MB:
            raise RepositoryError(
                f"{size_bytes / _MB:.1f} MB of weights beside the {held_bytes / _MB:.1f} MB that are held are over "
                f"repository.memory_mb={self._settings.memory_mb:g}: unload a version"
            )

    def _names(self) -> list[str]:
        return sorted(entry.name for entry in self._folder.iterdir() if entry.is_dir())

    def _weight_files(self, name: str) -> dict[str, Path]:
        """File name without its ending -> file. The name is only compared, as it comes from a request."""
        if name not in self._names():
            return {}
        return {file.stem: file for file in sorted((self._folder / name).glob(f"*{_SUFFIX}")) if file.is_file()}

    def _record_of(self, name: str, file: Path) -> _FileRecord:
        return self._records.setdefault((name, file.name), _FileRecord())

    def _records_with(self, name: str, fingerprint: str) -> list[_FileRecord]:
        return [
            record for (model, _), record in self._records.items() if (model, record.fingerprint) == (name, fingerprint)
        ]

    def _weights_of(self, name: str, fingerprint: str) -> str:
        key = (name, fingerprint)
        return ", ".join(file for (model, file), record in self._records.items() if (model, record.fingerprint) == key)

    def _loaded_version_of(self, name: str, file: Path) -> HostedVersion | None:
        """The version that was loaded from a file, if the file has not changed since; else None."""
        record = self._record_of(name, file)
        if record.file_state != _file_state(file):
            return None
        return self._held_version(name, record.fingerprint)

    def _held_version(self, name: str, fingerprint: str) -> HostedVersion | None:
        return next((each for each in self._hosted.versions() if each.key == (name, fingerprint)), None)


def _file_state(file: Path) -> _FileState:
    status = file.stat()
    return _FileState(status.st_size, status.st_mtime_ns)


def _entry(name: str, version: str, state: State, reason: str = "", weights: str = "") -> dict[str, str]:
    entry = {"name": name, "version": version, "state": state.value, "reason": reason}
    return entry | ({"weights": weights} if weights else {})
