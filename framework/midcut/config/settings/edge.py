"""Settings of the edge: planning loop, calibration, and inputs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import ClassVar

from omegaconf import MISSING

from midcut.config.settings.bounds import check_at_least, check_over_zero, check_share, count_threads
from midcut.config.settings.serving import ServerSettings
from midcut.errors import ConfigError


class Fallback(Enum):
    """What to run when an observation is incomplete: all at the edge, all in the cloud, or the last cut."""

    edge = "edge"
    cloud = "cloud"
    hold = "hold"


@dataclass
class EngineSettings:
    """The edge's planning loop and execution.

    Attributes:
        interval_s: seconds between two planning steps.
        threads: torch's intra-op threads, or `auto` for every core; equal counts on both sides keep results
            bit-identical.
        dwell: planning steps between two switches of the cut, at least; 0 follows the planner at once.
        turn_share: share of the planning steps, drawn at random, in which the cut may be switched; below 1, each switch
            of the last minutes halves it. Edges that all answer one price at once go back and forth; with 0.3 they
            settle.
        min_gain: share by which another placement must be better in a column that the planner weighs, e.g. 0.1.
        max_age_s: a telemetry value older than this is missing.
        fallback: what runs while a needed telemetry value is missing.
        breaker_failures: after so many failures in a row, or one that took longer than retry_after_s, the circuit
            breaker opens: no request goes to the cloud, and planning uses the edge alone where that is on offer.
        retry_after_s: how long the breaker stays open, or as long as the failed try took if that is longer, twice and
            four times as long after the next failures; then one request tries the cloud again. 0 tries with every
            request. A wait that the cloud asks for, and the minute after a wrong answer, are kept in any case.
        deadline_s: latest time to answer a request; the edge finishes it by itself when the time left is only just
            enough for that. null waits for the cloud as long as the transport does.
        recheck: share of the cloud's answers that the edge computes again before it gives them, e.g. `1/100`. Where
            one differs by more than rounding, the edge's own is given and the cloud is left alone for a minute. Each
            costs the edge a tail; answers with codecs that are not exact are never computed again.
        give_up_factor: without a deadline, the edge starts the tail too when link and cloud have taken this many times
            what was predicted, and the first result counts; 1.5 suits links with outages. null waits as long as the
            transport does.
    """

    interval_s: float = 1.0
    threads: int | str = 1
    dwell: int = 0
    turn_share: float = 1.0
    min_gain: float = 0.0
    max_age_s: float = 30.0
    fallback: Fallback = Fallback.edge
    breaker_failures: int = 3
    retry_after_s: float = 1.0
    deadline_s: float | None = None
    give_up_factor: float | None = None
    recheck: str = "0"

    def __post_init__(self) -> None:
        self.recheck_share  # noqa: B018 - checks it
        check_over_zero(self, "engine.interval_s", "engine.turn_share", "engine.deadline_s", "engine.give_up_factor")
        check_over_zero(self, "engine.max_age_s")
        check_share(self, "engine.turn_share")
        check_share(self, "engine.min_gain")
        count_threads("engine.threads", self.threads)
        check_at_least(1, self, "engine.breaker_failures")
        check_at_least(0, self, "engine.dwell", "engine.retry_after_s")

    @property
    def thread_count(self) -> int:
        """`threads` as a number."""
        return count_threads("engine.threads", self.threads)

    @property
    def recheck_share(self) -> float:
        """`recheck` as a number."""
        try:
            share = float(Fraction(self.recheck))
        except (ValueError, ZeroDivisionError):
            share = -1.0
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"engine.recheck must be a share from 0 to 1, like 1/100, got {self.recheck}")
        return share


@dataclass
class CalibrationSettings:
    """Correction of the predictors by measured requests, while the edge runs.

    Attributes:
        enabled: false uses the predictions uncorrected.
        window: last requests that a correction of edge or cloud is fitted to (twice as many for the link); outliers
            do not count.
        forget_s: without new requests, a third of a correction is left after this long, 2 % after twice that, so that
            an edge or a cloud that was slow is tried again; null keeps corrections.
        file: stores the samples across restarts; each edge needs its own file. Anything there that is no calibration,
            or a link, is left as it is. null starts without any.
    """

    enabled: bool = True
    window: int = 9
    forget_s: float | None = 60.0
    file: str | None = None

    def __post_init__(self) -> None:
        check_at_least(3, self, "calibration.window")
        check_over_zero(self, "calibration.forget_s")


class InputKind(Enum):
    """Where an edge takes its inputs from."""

    server = "server"
    folder = "folder"


@dataclass
class EdgeServer(ServerSettings):
    """Settings of an edge's HTTP server.

    Attributes:
        max_body_mb: largest request body, MB; never less than the model's own input needs.
        max_pixels: an image of more pixels is refused before it is decoded; of large images, no more pixels than that
            are decoded at once; each takes up to 5 bytes. Of WebP, AVIF, transparent and 16-bit images one takes up
            to 16 and counts threefold, so that a very large one is decoded alone.
        max_requests: inferences under way at the same time; further ones are refused with 503 and Retry-After. A
            connection that comes back sooner waits for its turn.
        queue_s: so are those that would wait for longer than this for the ones under way.
        page: serve a live page at `/`, which shows the cuts and changes w, planner and cut.
    """

    port: int = 8701
    max_body_mb: float = 32.0
    max_pixels: int = 50_000_000
    max_requests: int = 64
    queue_s: float = 5.0
    page: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, self, f"{self.section}.max_body_mb")
        check_at_least(1, self, f"{self.section}.max_pixels", f"{self.section}.max_requests")
        check_over_zero(self, f"{self.section}.queue_s")


@dataclass
class InputServer(EdgeServer):
    """Settings of `midcut edge input=server`: HTTP requests with one image or tensor each.

    Attributes:
        kind: set by input=NAME.
    """

    section: ClassVar[str] = "input"

    kind: InputKind = InputKind.server


@dataclass
class StreamServer(EdgeServer):
    """Settings of the server beside a stream: live page, metrics, health, and answers to requests in between.

    Attributes:
        enabled: serve while a folder, a camera or a video is streamed.
    """

    enabled: bool = False


_PIPELINE_DEPTH = 4
"""Requests at once that keep edge, link and cloud busy, and one that waits."""


@dataclass
class InputFolder:
    """Settings of `midcut edge input=folder`: the images of a folder, in order of their names.

    Attributes:
        kind: set by input=NAME.
        path: the folder.
        pattern: glob of the files; `**/*` includes subfolders. By default all images of the folder.
        repeat: passes over the folder.
        limit: stop after that many images; null is all.
        rate_hz: images per second; null sends the next one as soon as `in_flight` allows.
        in_flight: most requests at once; heads, transfers and tails of successive ones then overlap. null is 1 without
            a rate, and 4 with one.
        watch: go on with images that arrive later, until stopped or `limit` is reached.
        labels: CSV file with the header `file,label` (class number or label text), to count correct answers.
        plot: draw `stream.png` at the end: telemetry, cut, latency and cost over time (with the extra `report`).
    """

    kind: InputKind = InputKind.folder
    path: str = MISSING
    pattern: str | None = None
    repeat: int = 1
    limit: int | None = None
    rate_hz: float | None = None
    in_flight: int | None = None
    watch: bool = False
    labels: str | None = None
    plot: bool = True

    def __post_init__(self) -> None:
        check_at_least(1, self, "input.repeat", "input.limit", "input.in_flight")
        check_over_zero(self, "input.rate_hz")

    @property
    def most_in_flight(self) -> int:
        """Most requests at once."""
        if self.in_flight is not None:
            return self.in_flight
        return 1 if self.rate_hz is None else _PIPELINE_DEPTH
