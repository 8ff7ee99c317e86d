"""Running a folder of images through the engine, one by one or overlapping, and writing a record of each request."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from midcut.edge.frontend.answers import answer_fields, decision_fields, result_fields
from midcut.edge.frontend.folder import (
    expected_label,
    image_files,
    read_labels,
    warn_of_files_left_out,
    warn_of_labels,
)
from midcut.edge.frontend.images import model_input
from midcut.errors import FileError, MalformedError
from midcut.results.files import json_line
from midcut.results.gains import alternatives
from midcut.results.lines import LineFile
from midcut.results.stream import Record, RecordedDecision, Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from midcut.config.settings import InputFolder
    from midcut.edge.engine import EdgeEngine
    from midcut.types import Decision, LoadedModel

_log = structlog.get_logger("midcut.stream")
# Fields of a record that the summary needs; only the file has the others.
_SUMMARY_FIELDS: Final = (
    "cut",
    "latency_s",
    "cost_usd",
    "finished_by",
    "fallback",
    "predicted",
    "alternatives",
    "right",
)


@dataclass
class StreamOutcome:
    """The outcome of a stream.

    Attributes:
        records: for each request, the fields of its line in `results.jsonl` that a summary needs.
        skipped: images that could not be read.
        wall_s: seconds from the first image to the last answer.
        stopped: whether the stream was stopped early.
        failure: why a result could not be written, which ended the stream; `""` if all were.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0
    wall_s: float = 0.0
    stopped: bool = False
    failure: str = ""


async def stream(
    engine: EdgeEngine, model: LoadedModel, settings: InputFolder, results: Path, stop: asyncio.Event
) -> StreamOutcome:
    """Run the folder through a started engine.

    Args:
        results: file that gets one JSON line per request, at once.
        stop: when set, the requests in flight are finished and the stream ends.

    Raises:
        FileError: no image could be read.
    """
    files, labels = image_files(settings), read_labels(settings.labels)
    warn_of_files_left_out(settings, files)
    if settings.labels is not None:
        warn_of_labels(labels, files, model.labels, settings)
    began = time.perf_counter()
    with LineFile(results) as lines:
        window = _Window(settings.most_in_flight, lines)
        try:
            for position, file in enumerate(_repeat_files(files, settings)):
                await window.make_room()
                if window.outcome.failure:
                    break
                if await _wait_turn(settings.rate_hz, began, position, stop):
                    window.outcome.stopped = True
                    break
                expected = expected_label(labels, file, settings.path)
                window.add(file, asyncio.create_task(_infer_file(engine, model, file, expected)))
            await window.finish()
        finally:
            window.cancel()
    outcome = window.outcome
    if outcome.skipped and not outcome.records and not outcome.stopped:
        raise FileError(
            f"input.path={settings.path}: none of {outcome.skipped} images could be read; last {window.unreadable}"
        )
    outcome.wall_s = time.perf_counter() - began
    return outcome


class _Window:
    """The requests in flight, oldest first. Records are written in the order in which the requests began.

    After a record that could not be written (`outcome.failure`), none is written any more.

    Heads, transfers and tails of successive requests overlap as far as `most` allows.
    """

    def __init__(self, most: int, lines: LineFile) -> None:
        self._most, self._lines = most, lines
        self._tasks: deque[tuple[Path, asyncio.Task[Record]]] = deque()
        self.outcome, self.unreadable = StreamOutcome(), ""

    def add(self, file: Path, task: asyncio.Task[Record]) -> None:
        self._tasks.append((file, task))

    async def make_room(self) -> None:
        """Write what is answered, and wait for the oldest request while there are as many as allowed."""
        while self._tasks and not self.outcome.failure and (len(self._tasks) >= self._most or self._tasks[0][1].done()):
            await self._write_oldest()

    async def finish(self) -> None:
        while self._tasks and not self.outcome.failure:
            await self._write_oldest()

    def cancel(self) -> None:
        for _, task in self._tasks:
            task.cancel()

    async def _write_oldest(self) -> None:
        file, task = self._tasks[0]
        try:
            record = replace(await task, n=len(self.outcome.records))
        except MalformedError as error:
            self.outcome.skipped += 1
            self.unreadable = f"{file.name}: {error}"
            _log.warning("image skipped", file=str(file), reason=str(error))
        else:
            self._write(record)
        self._tasks.popleft()

    def _write(self, record: Record) -> None:
        try:
            self._lines.write(json_line(record))
        except FileError as error:
            self.outcome.stopped, self.outcome.failure = True, str(error)
            return
        self.outcome.records.append(
            {name: value for name in _SUMMARY_FIELDS if (value := getattr(record, name)) is not UNSET}
        )


async def _infer_file(engine: EdgeEngine, model: LoadedModel, file: Path, expected: str | None) -> Record:
    inputs = await asyncio.to_thread(_read_input, model, file)
    decision = engine.decision  # `infer` uses the same one: it reads it before it first awaits
    result = await engine.infer([inputs])
    answer = await asyncio.to_thread(answer_fields, model, result.output)
    return Record(
        n=0,  # set when it is written
        at_s=time.time(),
        file=str(file),
        class_=answer.get("class"),
        label=answer.get("label", ""),
        answer=UNSET if "class" in answer else answer,
        **result_fields(result),
        decision=_decision_record(decision),
        alternatives={} if decision.forecast is None else alternatives(decision.forecast),
        **_grade(answer, expected),
    )


def _decision_record(decision: Decision) -> RecordedDecision:
    fields = decision_fields(decision)
    return RecordedDecision(**fields | {"observation": Telemetry(**fields["observation"])})


def _read_input(model: LoadedModel, file: Path) -> Any:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise MalformedError(f"cannot be read: {error.strerror}") from None
    return model_input(model, data)


def _repeat_files(files: list[Path], settings: InputFolder) -> Iterator[Path]:
    total = len(files) * settings.repeat
    for position in range(total if settings.limit is None else min(total, settings.limit)):
        yield files[position % len(files)]


async def _wait_turn(rate_hz: float | None, began: float, position: int, stop: asyncio.Event) -> bool:
    """Wait until this image is due. Returns whether the stream has to stop."""
    wait_s = 0.0 if rate_hz is None else began + position / rate_hz - time.perf_counter()
    if wait_s > 0.0:
        try:
            async with asyncio.timeout(wait_s):
                await stop.wait()
        except TimeoutError:
            pass
    return stop.is_set()


def _grade(answer: Mapping[str, Any], expected: str | None) -> dict[str, Any]:
    if expected is None:
        return {}
    return {"expected": expected, "right": expected in (str(answer.get("class")), answer.get("label"))}
