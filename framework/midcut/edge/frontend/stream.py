"""A folder of images through the engine, one after the other, each request written down as it ends."""

from __future__ import annotations

import asyncio
import csv
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import UNSET

from midcut.edge.frontend.answers import classification, explained, result_fields
from midcut.edge.frontend.images import SUFFIXES, model_input
from midcut.errors import ConfigError, FileError, MalformedError
from midcut.results.files import json_line
from midcut.results.stream import Record, RecordedDecision, Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from midcut.config.settings import InputFolder
    from midcut.edge.engine import EdgeEngine
    from midcut.types import Decision, LoadedModel

_log = structlog.get_logger("midcut.stream")
# What a summary needs of a record; the whole of it is in the file.
_KEPT: Final = ("cut", "latency_s", "cost_usd", "finished_by", "fallback", "predicted", "right")


@dataclass
class Streamed:
    """What a stream did.

    Attributes:
        records: one a request: of its line in `results.jsonl`, what a summary needs.
        skipped: images that could not be read.
        wall_s: from the first image to the last answer.
        stopped: the stream was told to end early.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0
    wall_s: float = 0.0
    stopped: bool = False


def image_files(settings: InputFolder) -> list[Path]:
    """The folder's images by name, once.

    Raises:
        ConfigError: a knob out of range.
        FileError: no such folder, or nothing in it to stream.
    """
    folder = Path(settings.path).expanduser()
    if not folder.is_dir():
        raise FileError(f"input.path={settings.path} is not a folder")
    pattern = settings.pattern or "*"
    try:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(f"input.pattern={pattern!r} is no glob inside the folder: {error}") from None
    if settings.pattern is None:
        found = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not found:
        wanted = f"file that matches {pattern!r}" if settings.pattern else f"image ({', '.join(sorted(SUFFIXES))})"
        raise FileError(f"input.path={settings.path} holds no {wanted}")
    return found


def read_labels(path: str | None) -> dict[str, str]:
    """Right answers by file name or path inside the folder; empty where none are given.

    Raises:
        FileError: unreadable, or without the header `file,label`.
    """
    if path is None:
        return {}
    try:
        with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            if not {"file", "label"} <= set(rows.fieldnames or ()):
                raise FileError(f"input.labels={path} needs the header file,label, got {rows.fieldnames}")
            return {str(row["file"]): str(row["label"]).strip() for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"input.labels={path} cannot be read: {error}") from None


async def stream(
    engine: EdgeEngine, model: LoadedModel, settings: InputFolder, results: Path, stop: asyncio.Event
) -> Streamed:
    """Run the folder through a started engine.

    Args:
        results: file of one JSON line a request, written as it goes.
        stop: when set, the request in flight is finished and the stream ends.

    Raises:
        FileError: not one image could be read.
    """
    files, labels = image_files(settings), read_labels(settings.labels)
    done, unreadable = Streamed(), ""
    began = time.perf_counter()
    with results.open("wb", buffering=0) as lines:
        for position, file in enumerate(_repeated(files, settings)):
            if await _paced(settings.rate_hz, began, position, stop):
                done.stopped = True
                break
            try:
                record = await _infer_file(
                    engine, model, file, len(done.records), _expected(labels, file, settings.path)
                )
            except MalformedError as error:
                done.skipped += 1
                unreadable = f"{file.name}: {error}"
                _log.warning("image skipped", file=str(file), reason=str(error))
                continue
            lines.write(json_line(record))
            done.records.append({name: value for name in _KEPT if (value := getattr(record, name)) is not UNSET})
    if done.skipped and not done.records and not done.stopped:
        raise FileError(f"input.path={settings.path}: none of {done.skipped} images could be read; last {unreadable}")
    done.wall_s = time.perf_counter() - began
    return done


async def _infer_file(engine: EdgeEngine, model: LoadedModel, file: Path, number: int, expected: str | None) -> Record:
    inputs = await asyncio.to_thread(_input, model, file)
    decision = engine.decision  # `infer` reads the same reference first thing, before it waits for anything
    result = await engine.infer([inputs])
    answer = classification(result.output, model.labels)
    return Record(
        n=number,
        at_s=time.time(),
        file=str(file),
        class_=answer["class"],
        label=answer["label"],
        **result_fields(result),
        decision=_recorded(decision),
        **_graded(answer, expected),
    )


def _recorded(decision: Decision) -> RecordedDecision:
    fields = explained(decision)
    return RecordedDecision(**fields | {"observation": Telemetry(**fields["observation"])})


def _input(model: LoadedModel, file: Path) -> Any:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise MalformedError(f"cannot be read: {error.strerror}") from None
    return model_input(model, data)


def _repeated(files: list[Path], settings: InputFolder) -> Iterator[Path]:
    total = len(files) * settings.repeat
    for position in range(total if settings.limit is None else min(total, settings.limit)):
        yield files[position % len(files)]


async def _paced(rate_hz: float | None, began: float, position: int, stop: asyncio.Event) -> bool:
    """Wait for this image's turn; True where the stream is to end."""
    wait_s = 0.0 if rate_hz is None else began + position / rate_hz - time.perf_counter()
    if wait_s > 0.0:
        try:
            async with asyncio.timeout(wait_s):
                await stop.wait()
        except TimeoutError:
            pass
    return stop.is_set()


def _expected(labels: Mapping[str, str], file: Path, folder: str) -> str | None:
    inside = file.relative_to(Path(folder).expanduser()).as_posix()
    return labels.get(inside, labels.get(file.name))


def _graded(answer: Mapping[str, Any], expected: str | None) -> dict[str, Any]:
    if expected is None:
        return {}
    return {"expected": expected, "right": expected in (str(answer["class"]), answer["label"])}
