"""Running a folder of images through the engine, one by one or overlapping, and writing a record of each request."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from midcut.edge.frontend.answers import answer_fields, decision_fields, output_fields, result_fields
from midcut.edge.frontend.arrivals import files_in_turn
from midcut.edge.frontend.folder import (
    expected_label,
    image_files,
    read_labels,
    warn_of_files_left_out,
    warn_of_labels,
)
from midcut.edge.frontend.summary import StreamTotals
from midcut.edge.picture_input import PictureInput
from midcut.errors import FileError, MalformedError, OutOfMemoryError
from midcut.results.files import json_line
from midcut.results.gains import alternatives
from midcut.results.lines import LineFile
from midcut.results.stream import Record, RecordedDecision, Telemetry
from midcut.serving.images import MAX_PIXELS, PixelBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from PIL import Image

    from midcut.config.settings import InputFolder
    from midcut.edge.engine import EdgeEngine
    from midcut.edge.page.live import LiveRecord
    from midcut.types import Decision, LoadedModel

_log = structlog.get_logger("midcut.stream")


@dataclass
class StreamOutcome:
    """The outcome of a stream.

    Attributes:
        totals: of the requests that were answered.
        skipped: images that could not be read.
        wall_s: seconds from the first image to the last answer.
        stopped: whether the stream was stopped early.
        dropped: frames that came while all places were taken.
        failure: why a result could not be written, which ended the stream; `""` if all were.
    """

    totals: StreamTotals = field(default_factory=StreamTotals)
    skipped: int = 0
    wall_s: float = 0.0
    stopped: bool = False
    failure: str = ""
    dropped: int = 0


async def stream(
    engine: EdgeEngine,
    model: LoadedModel,
    settings: InputFolder,
    results: Path,
    stop: asyncio.Event,
    emit: Callable[[Mapping[str, Any]], None] | None = None,
    live: LiveRecord | None = None,
) -> StreamOutcome:
    """Run the folder through a started engine.

    Args:
        results: file that gets one JSON line per request, at once.
        stop: when set, the requests in flight are finished and the stream ends.
        emit: gets each result as JSON fields, for the outputs.
        live: gets each answer, for the live page.

    Raises:
        FileError: no image could be read.
    """
    files, labels = image_files(settings), read_labels(settings.labels)
    position = 0
    warn_of_files_left_out(settings, files)
    if settings.labels is not None:
        warn_of_labels(labels, files, model.labels, settings)
    began = time.perf_counter()
    with LineFile(results) as lines:
        window = Window(settings.most_in_flight, lines, model, emit)
        try:
            async for file in files_in_turn(files, settings, stop):
                await window.make_room()
                if window.outcome.failure:
                    break
                if await _wait_turn(settings.rate_hz, began, position, stop):
                    window.outcome.stopped = True
                    break
                position += 1
                expected = expected_label(labels, file, settings.path)
                window.add(str(file), asyncio.create_task(_infer_file(engine, model, file, expected, live)))
            window.outcome.stopped = window.outcome.stopped or (settings.watch and stop.is_set())
            await window.finish()
        finally:
            window.cancel()
    outcome = window.outcome
    if outcome.skipped and not outcome.totals.answered and not outcome.stopped:
        raise FileError(
            f"input.path={settings.path}: none of {outcome.skipped} images could be read; last {window.unreadable}"
        )
    outcome.wall_s = time.perf_counter() - began
    return outcome


class Window:
    """The requests in flight, oldest first. Records are written in the order in which the requests began.

    After a record that could not be written (`outcome.failure`), none is written any more.

    Heads, transfers and tails of successive requests overlap as far as `most` allows.

    Args:
        most: how many requests may be in flight at once.
        lines: the file that gets a line for each request.
        model: the model, whose name goes to the outputs.
        emit: gets each result as JSON fields, for the outputs.
    """

    def __init__(
        self, most: int, lines: LineFile, model: LoadedModel, emit: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self._most, self._lines, self._model, self._emit = most, lines, model, emit
        self._tasks: deque[tuple[str, asyncio.Task[Record]]] = deque()
        self.outcome, self.unreadable = StreamOutcome(), ""
        self._error: BaseException | None = None

    def add(self, source: str, task: asyncio.Task[Record]) -> None:
        self._tasks.append((source, task))
        task.add_done_callback(
            lambda _: self._write_answered()
        )  # its line is written when it and all before it are answered, also where no request comes after it

    async def make_room(self) -> None:
        """Wait for the oldest request while there are as many as allowed."""
        await self._wait_until_fewer(self._most)

    async def finish(self) -> None:
        """Wait for all requests."""
        await self._wait_until_fewer(1)

    def cancel(self) -> None:
        for _, task in self._tasks:
            task.cancel()

    async def _wait_until_fewer(self, most: int) -> None:
        while len(self._tasks) >= most and not self.outcome.failure:
            await asyncio.wait({self._tasks[0][1]})
            self._write_answered()
        if self._error is not None:
            raise self._error

    def _write_answered(self) -> None:
        """Write the oldest requests, as far as they are answered."""
        while self._tasks and self._tasks[0][1].done() and not self.outcome.failure:
            source, task = self._tasks.popleft()
            if task.cancelled():
                continue
            error = task.exception()
            if isinstance(error, MalformedError | OutOfMemoryError):
                self.outcome.skipped += 1
                self.unreadable = f"{source.rpartition('/')[2]}: {error}"
                _log.warning("image skipped", file=source, reason=str(error))
            elif error is not None:
                self._error = self._error or error
            else:
                self._write(replace(task.result(), n=self.outcome.totals.answered))

    def _write(self, record: Record) -> None:
        try:
            self._lines.write(json_line(record))
        except FileError as error:
            self.outcome.stopped, self.outcome.failure = True, str(error)
            return
        if self._emit is not None:
            at_s = record.at_s if record.frame_at_s is UNSET else record.frame_at_s
            self._emit(output_fields(self._model.name, _answer_of(record), record, record.file, at_s))
        self.outcome.totals.add(record)


async def _infer_file(
    engine: EdgeEngine, model: LoadedModel, file: Path, expected: str | None, live: LiveRecord | None
) -> Record:
    data = await asyncio.to_thread(_read_file, file)
    # A budget for each file: those in flight are few, and the user's own.
    inputs = await PictureInput.open(model, data, PixelBudget(MAX_PIXELS, None))
    return await infer_record(engine, model, inputs, str(file), expected, shown=data, live=live)


def _answer_of(record: Record) -> Mapping[str, Any]:
    if record.answer is not UNSET:
        return record.answer
    return {"class": record.class_, "label": record.label, "probability": record.probability}


async def infer_record(
    engine: EdgeEngine,
    model: LoadedModel,
    inputs: Any,
    source: str,
    expected: str | None = None,
    frame_at_s: float | UnsetType = UNSET,
    *,
    shown: bytes | Image.Image | None = None,
    live: LiveRecord | None = None,
) -> Record:
    """Classify one input, and describe the answer.

    Args:
        source: the file or the input that the picture comes from.
        expected: the right label, if known.
        frame_at_s: when a frame was taken, seconds since the epoch.
        shown: the picture for the live page.
        live: gets the answer, for the live page.
    """
    decision = engine.decision  # `infer` uses the same one: it reads it before it first awaits
    result = await engine.infer(inputs if isinstance(inputs, PictureInput) else [inputs])
    answer = await asyncio.to_thread(answer_fields, model, result.output)
    if live is not None:
        live.answered(shown, answer, result)
    return Record(
        n=0,  # set when it is written
        at_s=time.time(),
        file=source,
        class_=answer.get("class"),
        label=answer.get("label", ""),
        probability=answer["top5"][0]["probability"] if answer.get("top5") else None,
        frame_at_s=frame_at_s,
        answer=UNSET if "class" in answer else answer,
        **result_fields(result),
        decision=_decision_record(decision),
        alternatives={} if decision.forecast is None else alternatives(decision.forecast),
        **_grade(answer, expected),
    )


def _decision_record(decision: Decision) -> RecordedDecision:
    fields = decision_fields(decision)
    observed = {name: value for name, value in fields["observation"].items() if name not in decision.observation.others}
    return RecordedDecision(**fields | {"observation": Telemetry(**observed, others=dict(decision.observation.others))})


def _read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise MalformedError(f"cannot be read: {error.strerror}") from None


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
