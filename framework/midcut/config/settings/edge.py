"""The edge's loop, and what feeds it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from omegaconf import MISSING

from midcut.config.settings.bounds import check_at_least, check_over_zero
from midcut.config.settings.serving import ServerSettings


class Fallback(Enum):
    """What to run when an observation is incomplete."""

    edge = "edge"
    cloud = "cloud"
    hold = "hold"


@dataclass
class EngineSettings:
    """The edge's planning loop and execution.

    Attributes:
        interval_s: seconds between two planning steps.
        threads: torch's intra-op threads; equal counts on both sides keep results bit-identical.
        dwell: planning steps a cut is kept at least; 0 follows the planner at once.
        max_age_s: a telemetry value older than this is missing.
        fallback: what runs while a needed telemetry value is missing.
        breaker_failures: after so many failures in a row, or one that took longer than retry_after_s, the cloud is
            left alone, and planning is for the edge alone where it may be.
        retry_after_s: for how long, or for four times the time the failed try took where that is more; then one
            request tries it again. 0 tries every time.
        deadline_s: a request is answered after this long; the edge finishes it by itself when the time left only
            just suffices for that. null waits for the cloud as long as the transport does.
    """

    interval_s: float = 1.0
    threads: int = 1
    dwell: int = 0
    max_age_s: float = 30.0
    fallback: Fallback = Fallback.edge
    breaker_failures: int = 3
    retry_after_s: float = 1.0
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        check_over_zero(self, "engine.interval_s", "engine.deadline_s")
        check_at_least(1, self, "engine.threads", "engine.breaker_failures")
        check_at_least(0, self, "engine.dwell", "engine.retry_after_s")


@dataclass
class CalibrationSettings:
    """Correcting the predictors by what requests really take, while the edge runs.

    Attributes:
        enabled: false takes the predictors at their word.
        window: requests that a correction of edge and cloud rests on (of the link: twice as many); most of them
            decide.
        forget_s: without new requests, a third is left of a correction after that long, 2 % after twice that, so that
            an edge or a cloud in trouble is tried again; null keeps corrections.
        file: keeps what was learnt across restarts; a file for each edge. null starts anew.
    """

    enabled: bool = True
    window: int = 9
    forget_s: float | None = 60.0
    file: str | None = None

    def __post_init__(self) -> None:
        check_at_least(3, self, "calibration.window")
        check_over_zero(self, "calibration.forget_s")


class InputKind(Enum):
    """What feeds an edge."""

    server = "server"
    folder = "folder"


@dataclass
class InputServer(ServerSettings):
    """`midcut edge input=server`: requests come by HTTP, an image or a tensor each.

    Attributes:
        kind: goes with input=NAME.
        max_body_mb: largest request body, MB; at least what the model's own input takes.
        max_pixels: an image of more pixels is refused before it is decoded.
        max_requests: inferences under way at once; more are told to come back (503, Retry-After).
    """

    _key: ClassVar[str] = "input"

    kind: InputKind = InputKind.server
    port: int = 8701
    max_body_mb: float = 32.0
    max_pixels: int = 50_000_000
    max_requests: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, self, "input.max_body_mb", finite=True)
        check_at_least(1, self, "input.max_pixels", "input.max_requests")


@dataclass
class InputFolder:
    """`midcut edge input=folder`: images of a folder, in order of their names.

    Attributes:
        kind: goes with input=NAME.
        path: the folder.
        pattern: which files, as a glob; `**/*` goes into subfolders. By default all images of the folder.
        repeat: how often the folder is gone through.
        limit: stop after that many images; null is all.
        rate_hz: images per second; null is as fast as they are answered.
        labels: CSV file with the header `file,label` (class number or label text), to count right answers.
        plot: draw `stream.png` at the end: telemetry, cut, latency and cost over time (with the extra `report`).
    """

    kind: InputKind = InputKind.folder
    path: str = MISSING
    pattern: str | None = None
    repeat: int = 1
    limit: int | None = None
    rate_hz: float | None = None
    labels: str | None = None
    plot: bool = True

    def __post_init__(self) -> None:
        check_at_least(1, self, "input.repeat", "input.limit")
        check_over_zero(self, "input.rate_hz")
