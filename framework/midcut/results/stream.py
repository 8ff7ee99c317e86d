"""`results.jsonl` and `summary.json`: a folder of images through the edge. `midcut edge input=folder` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Struct, UnsetType, field

from midcut.results.files import read_json, read_lines, write_json
from midcut.results.gains import Gain

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = "results.jsonl"
SUMMARY = "summary.json"
PLOT = "stream.png"
_HINT = "`midcut edge input=folder` writes one"


class Telemetry(Struct, frozen=True, kw_only=True):
    """One observation.

    Attributes:
        clock_mhz: the edge's clock; None, as the others, where unknown.
        bandwidth_kbps: edge to cloud, kbit/s (1 kbit = 1000 bit).
        ping_ms: round trip.
        at_s: when, seconds since the epoch.
        source: field -> name of the source it came from.
        age_s: field -> how old the value was at `at_s`, seconds.
        missing: field -> why there is no value.
        others: further fields that telemetry gave, by name, e.g. `second_ping_ms` of a relay.
    """

    clock_mhz: float | None
    bandwidth_kbps: float | None
    ping_ms: float | None
    at_s: float
    source: dict[str, str]
    age_s: dict[str, float]
    missing: dict[str, str]
    others: dict[str, float] = {}


class RecordedDecision(Struct, frozen=True, kw_only=True):
    """The decision that a request was started under.

    Attributes:
        cut, codec: the placement in use.
        reason: one line for people.
        weight: the planner's w, 0 (fast) to 1 (cheap); None where it follows none.
        planning_s: seconds from the observation to the choice.
        limit: the planner's own limit in words; absent where it has none. `met`: whether the placement keeps it.
    """

    cut: int
    codec: str
    reason: str
    weight: float | None
    planning_s: float
    observation: Telemetry
    limit: str | UnsetType = UNSET
    met: bool | UnsetType = UNSET


class Record(Struct, frozen=True, kw_only=True):
    """One request: a line of `results.jsonl`.

    Attributes:
        n: counts the requests from 0.
        at_s: when it was answered, seconds since the epoch.
        file: the image.
        class_: index of the most likely class (`class` in the file); None where the model is no classifier. `label`:
            its name, `""` where unknown.
        answer: what another task than classification answered; absent for a classifier.
        probability: of that class; None where the model is no classifier.
        frame_at_s: when a camera's frame was taken, seconds since the epoch; absent for files.
        cut, codec, finished_by, fallback, edge_s, link_s, cloud_s, latency_s, cost_usd, sent_bytes: as in
            `midcut.types.InferenceResult`; seconds and US dollars, measured.
        relay_s, second_link_s, second_cut, second_codec: of three tiers; absent on two.
        predicted: `latency_s`, `cost_usd`, `edge_s`, `link_s`, `cloud_s`, `cut` and `codec` as forecast for this
            placement; empty where there was no forecast.
        alternatives: `edge-only`, `cloud-only` and, on three tiers, `relay-only` -> `latency_s` and `cost_usd` as
            forecast at the same time; empty where there was no forecast.
        expected: the right label; absent, as `right` is, where none is known.
        right: whether class or label is the expected one.
    """

    n: int
    at_s: float
    file: str
    class_: int | None = field(name="class")
    label: str
    probability: float | None = None
    frame_at_s: float | UnsetType = UNSET
    request_id: str
    cut: int
    codec: str
    finished_by: str
    fallback: str
    edge_s: float
    link_s: float
    cloud_s: float
    latency_s: float
    cost_usd: float | None
    sent_bytes: int
    relay_s: float | UnsetType = UNSET
    second_link_s: float | UnsetType = UNSET
    second_cut: int | UnsetType = UNSET
    second_codec: str | UnsetType = UNSET
    predicted: dict[str, Any]
    decision: RecordedDecision
    alternatives: dict[str, dict[str, float]] = {}
    answer: dict[str, Any] | UnsetType = UNSET
    expected: str | UnsetType = UNSET
    right: bool | UnsetType = UNSET


class Latency(Struct, frozen=True):
    """Measured latencies over all requests, seconds; None without any request."""

    median: float | None
    p95: float | None
    max: float | None


class Cost(Struct, frozen=True):
    """Money for all requests together, and the median of one, US dollars; None without any request."""

    total: float | None
    median: float | None


class PredictionError(Struct, frozen=True):
    """Median of |predicted - measured| / measured, over requests with a forecast and no fallback; None without any."""

    latency_s: float | None
    cost_usd: float | None


class Summary(Struct, frozen=True, kw_only=True):
    """A whole stream.

    Attributes:
        requests: images that were answered; `skipped`: those that could not be read.
        stopped_early: the stream was ended by a signal.
        wall_s: seconds from the first image to the last answer.
        cuts: cut -> number of requests; where a relay stopped at a second one, both: `3,9`.
        switches: requests with other cuts than the one before.
        finished_by: `edge` or `cloud` -> number of requests.
        fallbacks: requests that the edge finished in place of the cloud.
        right, accuracy: number and share of the `graded` requests with the expected answer; None where none is graded.
        dropped: frames of a camera or stream that came while all places were taken.
        cloud_never_reached: why no cloud answered anything; `""` if one did.
        gains: names of `alternatives` -> how much faster and cheaper the cuts in use were, all requests together, by
            the forecasts in use.
        planning: what planning did, by name: `steps`, `switches`, `held` (by dwell), `fallbacks`, `unmet` (limits).
        calibration: state of the live calibration at the end; absent where it is disabled.
    """

    model: str
    requests: int
    skipped: int
    stopped_early: bool
    wall_s: float
    latency_s: Latency
    cost_usd: Cost
    cuts: dict[str, int]
    switches: int
    finished_by: dict[str, int]
    fallbacks: int
    prediction_error: PredictionError
    right: int | None
    graded: int
    accuracy: float | None
    cloud_never_reached: str = ""
    dropped: int = 0
    gains: dict[str, Gain] = {}
    planning: dict[str, int] = {}
    calibration: dict[str, Any] | UnsetType = UNSET


def write_summary(path: Path, summary: Summary) -> Path:
    """Write a summary, whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    return write_json(path, summary, "stream's summary")


def read_summary(path: Path) -> Summary:
    """Read a summary.

    Raises:
        FileError: missing, not JSON, or not this format; the message says where.
    """
    return read_json(path, Summary, "stream's summary", _HINT)


def read_records(path: Path) -> list[Record]:
    """Read the requests in their order.

    Raises:
        FileError: missing, or a line is not JSON or not this format; the message says which.
    """
    return read_lines(path, Record, "stream", _HINT)
