"""The weights that a cloud may hold beside each other: which files there are, what is loaded, and why not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

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


@dataclass
class _File:
    """What is known of a file of weights.

    Attributes:
        stamp: size and time of change of what was loaded last.
        fingerprint: of what was loaded from it last; `""` if nothing was.
        reason: why it is in that state.
    """

    state: State = State.unavailable
    stamp: tuple[int, int] = (0, 0)
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
        self._known: dict[tuple[str, str], _File] = {}
        self._unloading: dict[tuple[str, str], HostedVersion] = {}
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def load_at_start(self) -> None:
        """Load every file, those changed last as the newest; what cannot be loaded is logged."""
        files = [(name, file) for name in self._names() for file in self._files(name).values()]
        for name, file in sorted(files, key=lambda entry: entry[1].stat().st_mtime_ns):
            known = self._file(name, file)
            try:
                self._check_count()
                stamp = _stamp(file)
                version = self._pool.call(partial(self._make, name, file, trace=True))
            except RepositoryError as error:
                known.reason = str(error)
                _log.warning("not loaded", model=name, weights=file.name, reason=str(error))
            else:
                self._hold(version, known, stamp)

    def index(self, *, ready: bool = False) -> list[dict[str, str]]:
        """The entries of POST /v2/repository/index: versions by fingerprint, files that are not loaded by their name.

        Args:
            ready: only what is loaded.
        """
        files = {(name, file.name) for name in self._names() for file in self._files(name).values()}
        held = {version.key for _, version in self._hosted.versions()}
        entries = [
            _entry(name, fingerprint, State.ready, weights=self._weights_of(name, fingerprint))
            for name, fingerprint in held
        ]
        entries += [_entry(*key, State.unloading, "requests are being answered") for key in self._unloading]
        for name, file in sorted(files | set(self._known)):
            known = self._known.get((name, file), _File())
            if (name, known.fingerprint) in held and known.state is not State.loading:
                continue
            reason = known.reason if (name, file) in files else "the file is gone"
            entries.append(_entry(name, file, known.state, reason, file))
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
        files = self._files(name)
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
        held = [each.fingerprint for key, each in self._hosted.versions() if key == name]
        known = self._known.get((name, f"{(version or '').removesuffix(_SUFFIX)}{_SUFFIX}"), _File())
        chosen = held if version is None else [each for each in held if each in (version, known.fingerprint)]
        if not chosen:
            there = ", ".join(held) or "none"
            which = "" if version is None else f"version {version[:200]!r} of "
            raise UnknownModelError(f"{which}model {name[:200]!r} is not loaded; loaded versions of it: {there}")
        for fingerprint in chosen:
            await self._in_background(self._unload(name, fingerprint))

    async def _load_new(self, name: str, files: Iterable[Path]) -> None:
        for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
            if self._held(name, file) is None:
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
        known, began = self._file(name, file), perf_counter()
        known.state, known.reason = State.loading, ""
        try:
            async with self._one_at_a_time:
                stamp = _stamp(file)  # before it is read: it may change meanwhile
                version = await self._make_anew(name, file)
                self._hold(version, known, stamp)
        except OSError as error:
            known.state, known.reason = State.unavailable, f"{file.name} cannot be read: {error.strerror or error}"
            raise RepositoryError(known.reason) from None
        except BaseException as error:
            known.state, known.reason = State.unavailable, str(error) or "the cloud is shutting down"
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
        held = self._held(name, file)
        if held is not None:
            return held
        outcome = await self._pool.run(self._loader.capture, name, file)
        held = next((each for key, each in self._hosted.versions() if each.key == (name, outcome.fingerprint)), None)
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

    def _hold(self, version: HostedVersion, known: _File, stamp: tuple[int, int]) -> None:
        self._hosted.add(version)
        known.state, known.reason, known.stamp = State.ready, "", stamp
        known.fingerprint = version.fingerprint

    async def _unload(self, name: str, fingerprint: str) -> None:
        async with self._one_at_a_time:
            if not any(each.key == (name, fingerprint) for _, each in self._hosted.versions()):  # twice at once
                raise UnknownModelError(f"version {fingerprint} of model {name[:200]!r} is not loaded")
            version = self._hosted.remove(name, fingerprint)
            self._unloading[version.key] = version
            for known in self._files_of(name, fingerprint):
                known.state, known.reason = State.unavailable, "unloaded"
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
        held = sum(version.weights_bytes for _, version in self._hosted.versions())
        if held + size_bytes > self._settings.memory_mb * _MB:
            raise RepositoryError(
                f"{size_bytes / _MB:.1f} MB of weights beside the {held / _MB:.1f} MB that are held are over "
                f"repository.memory_mb={self._settings.memory_mb:g}: unload a version"
            )

    def _names(self) -> list[str]:
        return sorted(entry.name for entry in self._folder.iterdir() if entry.is_dir())

    def _files(self, name: str) -> dict[str, Path]:
        """File name without its ending -> file. The name is only compared, as it comes from a request."""
        if name not in self._names():
            return {}
        return {file.stem: file for file in sorted((self._folder / name).glob(f"*{_SUFFIX}")) if file.is_file()}

    def _file(self, name: str, file: Path) -> _File:
        return self._known.setdefault((name, file.name), _File())

    def _files_of(self, name: str, fingerprint: str) -> list[_File]:
        return [known for (of, _), known in self._known.items() if (of, known.fingerprint) == (name, fingerprint)]

    def _weights_of(self, name: str, fingerprint: str) -> str:
        key = (name, fingerprint)
        return ", ".join(file for (of, file), known in self._known.items() if (of, known.fingerprint) == key)

    def _held(self, name: str, file: Path) -> HostedVersion | None:
        """What is held of a file that has not changed since."""
        known = self._file(name, file)
        if known.stamp != _stamp(file):
            return None
        return next((each for _, each in self._hosted.versions() if each.key == (name, known.fingerprint)), None)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _entry(name: str, version: str, state: State, reason: str = "", weights: str = "") -> dict[str, str]:
    entry = {"name": name, "version": version, "state": state.value, "reason": reason}
    return entry | ({"weights": weights} if weights else {})
