"""Running the frames of a camera or a video through the engine, several at once, late ones dropped."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from midcut.edge.frontend.frames import FrameReader
from midcut.edge.frontend.stream import Window, infer_record
from midcut.edge.picture_input import PictureInput
from midcut.results.lines import LineFile
from midcut.serving.images import MAX_PIXELS, PixelBudget, prepared_input

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from midcut.edge.engine import EdgeEngine
    from midcut.edge.frontend.stream import StreamOutcome
    from midcut.edge.page.live import LiveRecord
    from midcut.protocols import Input
    from midcut.results.stream import Record
    from midcut.types import Frame, LoadedModel


async def stream_frames(
    engine: EdgeEngine,
    model: LoadedModel,
    source: Input,
    results: Path,
    stop: asyncio.Event,
    emit: Callable[[Mapping[str, Any]], None] | None = None,
    live: LiveRecord | None = None,
) -> StreamOutcome:
    """Run an input through a started engine until it ends, its limit is reached, or `stop` is set.

    Args:
        results: file that gets one JSON line per frame that was answered.
        emit: gets each result as JSON fields, for the outputs.
        live: gets each answer, for the live page.

    Raises:
        FileError: an input that is not endless failed.
    """
    began = time.perf_counter()
    reader = FrameReader(source)
    stopping = asyncio.create_task(stop.wait())
    taken = 0
    with LineFile(results) as lines:
        window = Window(max(source.concurrency, 1), lines, model, emit)
        try:
            while source.limit is None or taken < source.limit:
                await window.make_room()
                if window.outcome.failure:
                    break
                frame = await _next_frame(reader, stopping)
                if frame is None:
                    window.outcome.stopped = window.outcome.stopped or stop.is_set()
                    break
                taken += 1
                window.add(frame.source, asyncio.create_task(_infer_frame(engine, model, frame, live)))
            await window.finish()
        finally:
            stopping.cancel()
            window.cancel()
            await reader.close()
    window.outcome.dropped = reader.dropped
    window.outcome.wall_s = time.perf_counter() - began
    return window.outcome


async def _next_frame(reader: FrameReader, stopping: asyncio.Task[Any]) -> Frame | None:
    arriving = asyncio.ensure_future(reader.next())
    await asyncio.wait({arriving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not arriving.done():
        arriving.cancel()
        return None
    return arriving.result()


async def _infer_frame(engine: EdgeEngine, model: LoadedModel, frame: Frame, live: LiveRecord | None = None) -> Record:
    inputs: Any
    if frame.data is None:
        inputs = await asyncio.to_thread(prepared_input, model, frame.image)
    else:
        inputs = await PictureInput.open(model, frame.data, PixelBudget(MAX_PIXELS, None))
    shown = frame.data or frame.image
    return await infer_record(engine, model, inputs, frame.source, frame_at_s=frame.at_s, shown=shown, live=live)
