"""What an edge did lately, for its page."""

from __future__ import annotations

import base64
import io
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from PIL import Image

from midcut.pictures import as_shown
from midcut.serving.images import open_image, upright

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.types import Decision, InferenceResult

_MOST_POINTS: Final = 600
# Seconds over which the money per month is averaged.
_RATE_S: Final = 600.0
_MONTH_S: Final = 730.0 * 3600.0
_SIDE_PIXELS: Final = 320
# Of files only JPEG is decoded at a smaller size; a larger one of another format would take seconds.
_MOST_PIXELS: Final = 6_000_000


class DecisionPoint(NamedTuple):
    """One planning step. Times in seconds since the epoch, latencies in seconds."""

    at_s: float
    cut: int
    predicted_s: float | None
    clock_mhz: float | None
    bandwidth_kbps: float | None
    ping_ms: float | None


class ResultPoint(NamedTuple):
    """One answered request."""

    at_s: float
    latency_s: float
    predicted_s: float | None
    cost_usd: float
    cut: int


@dataclass
class LastAnswer:
    """The last answer while a page is open.

    Attributes:
        image: the picture as it came, a file or a frame; None for tensors.
        fields: the answer's fields, as the model's task makes them.
    """

    at_s: float
    image: bytes | bytearray | Image.Image | None
    fields: Mapping[str, Any]
    latency_s: float
    cut: int
    finished_by: str


class LiveRecord:
    """An observer of an edge's decisions and answers that keeps the last 600 of each, as numbers.

    Attributes:
        watched: whether a page is open; only then the last answer and its picture are held.
    """

    def __init__(self) -> None:
        self.began_at_s = time.time()
        self.decisions: deque[DecisionPoint] = deque(maxlen=_MOST_POINTS)
        self.results: deque[ResultPoint] = deque(maxlen=_MOST_POINTS)
        self.requests = self.fallbacks = self.sent_bytes = 0
        self.cost_usd = 0.0
        self.watched = False
        self.last: LastAnswer | None = None

    def decided(self, decision: Decision) -> None:
        seen, forecast = decision.observation, decision.forecast
        predicted_s = None if forecast is None else float(forecast.latency_s[decision.index])
        self.decisions.append(
            DecisionPoint(
                time.time(), decision.placement.cut, predicted_s, seen.clock_mhz, seen.bandwidth_kbps, seen.ping_ms
            )
        )

    def inferred(self, result: InferenceResult) -> None:
        """Count a finished request and keep its numbers."""
        self.requests += 1
        self.fallbacks += bool(result.fallback)
        self.sent_bytes += result.sent_bytes
        self.cost_usd += result.cost_usd
        predicted_s = result.predicted.get("latency_s")
        self.results.append(ResultPoint(time.time(), result.latency_s, predicted_s, result.cost_usd, result.cut))

    def answered(
        self, image: bytes | bytearray | Image.Image | None, fields: Mapping[str, Any], result: InferenceResult
    ) -> None:
        """Hold the last answer while a page is open."""
        if self.watched:
            self.last = LastAnswer(time.time(), image, fields, result.latency_s, result.cut, result.finished_by)

    def forget_last(self) -> None:
        """Hold no answer, because no page is open."""
        self.watched, self.last = False, None

    def monthly_usd(self) -> float | None:
        """What a month of 730 hours costs at the rate of the last ten minutes; None before two requests."""
        recent = [point for point in self.results.copy() if point.at_s >= time.time() - _RATE_S]
        if len(recent) < 2:
            return None
        # A full list may begin later than ten minutes ago, so count from its first entry. Otherwise count from the
        # start, or ten minutes ago.
        since_at_s = (
            recent[0].at_s if len(self.results) == _MOST_POINTS else max(self.began_at_s, time.time() - _RATE_S)
        )
        return sum(point.cost_usd for point in recent) / max(time.time() - since_at_s, 1.0) * _MONTH_S


def thumbnail(image: bytes | bytearray | Image.Image) -> str:
    """A small picture of a file or a decoded frame as a `data:` URL; `""` where there is none to show."""
    try:
        with _reduced(image) if isinstance(image, Image.Image) else _open_small(image) as picture:
            shown = as_shown(upright(picture))
            shown.thumbnail((_SIDE_PIXELS, _SIDE_PIXELS))
            out = io.BytesIO()
            shown.save(out, "JPEG", quality=80)
    except Exception:  # noqa: BLE001 - the answer was given; its picture is only shown
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def _open_small(data: bytes | bytearray) -> Image.Image:
    """A picture's file, to be decoded at little more than the shown size if it is a JPEG.

    Raises:
        ValueError: it is of another format, and so large that decoding takes seconds.
    """
    picture = open_image(data)
    picture.draft("RGB", (_SIDE_PIXELS, _SIDE_PIXELS))
    if picture.width * picture.height > _MOST_PIXELS:
        picture.close()
        raise ValueError(f"{picture.width} x {picture.height} pixels are not decoded for a thumbnail")
    return picture


def _reduced(frame: Image.Image) -> Image.Image:
    """A new picture of twice the shown size or little more; the frame's own size where its pixels have no average."""
    if frame.mode not in ("L", "RGB"):
        return frame.copy()
    return frame.reduce(max(1, max(frame.size) // (2 * _SIDE_PIXELS)))
