"""Live calibration: every answered request tells how far off the predictors are, per part of the latency."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import structlog

from midcut.edge.calibration.corrections import NO_CORRECTIONS, Corrections
from midcut.edge.calibration.robust_fit import Prior
from midcut.edge.calibration.sample_window import Sample, SampleWindow, log_ratio
from midcut.edge.calibration.stale_samples import StaleSampleFilter
from midcut.types import Placement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midcut.config.settings import CalibrationSettings
    from midcut.planning.policy import Policy
    from midcut.protocols import CostModel
    from midcut.types import Decision, Floats, Forecast, InferenceResult, Observation, Placements

_log = structlog.get_logger("midcut.edge")
# A throttled or shared processor is slower by a factor; what a segment costs beside its nodes is far below 1 ms.
_COMPUTING: Final = Prior(ratio_sd=1.0, offset_sd_s=0.0003, lowest=0.001, highest=1000.0)
# A request costs some milliseconds whatever its size; by how much bandwidth is off, telemetry should know.
_SENDING: Final = Prior(ratio_sd=0.1, offset_sd_s=0.005, lowest=0.6, highest=1.6, slack=0.3, noise_s=0.001)
# What nothing is sent for is handed from thread to thread all the same.
_WAITING_HERE: Final = Prior(ratio_sd=1e-3, offset_sd_s=0.001, lowest=1.0, highest=1.0, slack=0.3)
# Telling size from overhead takes more requests than telling one factor.
_LINK_WINDOWS: Final = 2
# Of the longest run on offer: what is shorter tells nothing of the others, where even that is short.
_TELLING: Final = 0.05
_WORTH_A_LINE: Final = 0.1
_QUIET_S: Final = 5.0
_WAITING: Final = 64
# So many requests that were off by a quarter are worth a planning step, ten times a second at most.
_SURPRISING: Final = 0.25
_SURPRISES: Final = 3
_SURPRISED_S: Final = 0.1
# Of `forget_s`: nothing fades by more than half a percent meanwhile.
_HOLDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class _Answer:
    """One request as the event loop hands it over. `rest_s` is what no part tells; None where it was not alone."""

    forecast: Forecast
    pause_s: float | None
    placement: Placement
    edge_s: float
    link_s: float
    cloud_s: float
    rest_s: float | None
    sent: bool
    ended_s: float


class Calibration:
    """Learns from answered requests, and corrects forecasts by what was learnt.

    Requests are noted on the event loop; learning and correcting happen on the planning thread. What telemetry
    explains a moment later (another clock, another link) is withdrawn: it is not the predictors' fault.

    Args:
        clock: seconds, monotonic.

    Attributes:
        on_surprise: called on the event loop when several requests took much longer or shorter than they were
            expected to, so that planning need not wait for its next turn.
    """

    def __init__(self, settings: CalibrationSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        window, forget_s = settings.window, settings.forget_s
        self._parts = {
            "edge": SampleWindow(_COMPUTING, window, forget_s),
            "link": SampleWindow(_SENDING, _LINK_WINDOWS * window, forget_s),
            "cloud": SampleWindow(_COMPUTING, window, forget_s),
            "here": SampleWindow(_WAITING_HERE, window, forget_s),
        }
        self._answers: deque[_Answer] = deque(maxlen=_WAITING)
        self.on_surprise: list[Callable[[], None]] = []
        self._surprises, self._surprised_s = 0, -math.inf
        self._said = dict.fromkeys(self._parts, (1.0, -math.inf))
        self._rows: tuple[Placements | None, dict[Placement, int]] = (None, {})
        self._applied = NO_CORRECTIONS
        self._pause_s: float | None = None
        self._lock = Lock()

    def answered(self, decision: Decision, result: InferenceResult, *, alone: bool) -> None:
        """Take note of a request of the captured batch size. Takes microseconds; learning comes later.

        Args:
            decision: the one its prediction is from.
            alone: no other request was under way, so that nothing but handing it on was waited for.
        """
        if decision.forecast is None or result.fallback:
            return
        rest_s = max(float(result.latency_s - result.edge_s - result.link_s - result.cloud_s), 0.0)
        self._answers.append(
            _Answer(
                forecast=decision.forecast.uncorrected or decision.forecast,
                pause_s=decision.observation.pause_s,
                placement=Placement(result.cut, result.codec),
                edge_s=float(result.edge_s),
                link_s=float(result.link_s),
                cloud_s=float(result.cloud_s),
                rest_s=rest_s if alone else None,
                sent=result.finished_by == "cloud",
                ended_s=self._clock(),
            )
        )
        self._note_surprise(result)

    def learn(self, policy: Policy, observation: Observation) -> None:
        """Learn from what was answered since the last time.

        Args:
            observation: of this moment, and complete for the policy.
        """
        with self._lock:
            unsettled = any(one.samples[-1:] and one.samples[-1].placement for one in self._parts.values())
            if not self._answers and not unsettled:
                return
            self._take_in()
            pause_s = self._pause_s
        # A link that has rested since is no other link. Not under the lock: a stranger's predictor may take its time.
        forecast = policy.forecast(replace(observation, pause_s=pause_s))
        with self._lock:
            self._settle(forecast, observation)
            self._apply(policy.placements, self._clock())
            self._say()

    def correct(self, forecast: Forecast, cost: CostModel) -> Forecast:
        """The forecast as the last requests would have it; itself where there is nothing to correct."""
        now_s = self._clock()
        applied = self._applied
        if applied.placements is not forecast.placements or not applied.from_s <= now_s <= applied.until_s:
            with self._lock:
                applied = self._apply(forecast.placements, now_s)
        return applied.to(forecast, cost)

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._answers.clear()
            for part in self._parts.values():
                part.forget()
            self._applied = NO_CORRECTIONS
            self._said = dict.fromkeys(self._parts, (1.0, -math.inf))
        _log.info("calibration forgotten")

    def state(self) -> dict[str, Any]:
        """What is being corrected at this moment, for people.

        Returns:
            JSON-able: per part `ratio` and `offset_s` (corrected = ratio * predicted + offset_s), the `samples` they
            rest on, and `age_s` of the last one (None without any). The part `here` is what a request waits for that
            sends nothing; it counts as the link of that placement.
        """
        with self._lock:
            self._take_in()
            now_s = self._clock()
            parts = {
                name: {**part.line(now_s)._asdict(), "samples": len(part), "age_s": part.age_s(now_s)}
                for name, part in self._parts.items()
            }
        return {"window": self._settings.window, "forget_s": self._settings.forget_s, "parts": parts}

    def samples(self) -> dict[str, list[Sample]]:
        """Part -> its samples with `at_s` as seconds ago, oldest first: what a file keeps."""
        with self._lock:
            self._take_in()
            now_s = self._clock()
            return {
                name: [replace(one, at_s=max(now_s - one.at_s, 0.0), placement=None) for one in part.samples]
                for name, part in self._parts.items()
            }

    def restore(self, samples: Mapping[str, list[Sample]]) -> None:
        """Go on with samples as `samples` gave them."""
        with self._lock:
            now_s = self._clock()
            self._applied = NO_CORRECTIONS
            for name, ones in samples.items():
                self._parts[name].extend(replace(one, at_s=now_s - one.at_s) for one in ones)

    def _note_surprise(self, result: InferenceResult) -> None:
        expected_s = result.predicted.get("latency_s")
        if expected_s is None or abs(log_ratio(result.latency_s, expected_s)) < math.log1p(_SURPRISING):
            return
        self._surprises += 1
        if self._surprises >= _SURPRISES and self._clock() - self._surprised_s > _SURPRISED_S:
            self._surprises, self._surprised_s = 0, self._clock()
            for told in self.on_surprise:
                told()

    def _take_in(self) -> None:
        fresh: dict[str, list[Sample]] = {name: [] for name in self._parts}
        while self._answers:
            answer = self._answers.popleft()
            row = self._row(answer.forecast.placements, answer.placement)
            if row is None:
                continue
            forecast, ended_s, placement = answer.forecast, answer.ended_s, answer.placement
            self._pause_s = answer.pause_s
            if _tells(forecast.edge_s, row):
                fresh["edge"].append(Sample(float(forecast.edge_s[row]), answer.edge_s, ended_s, placement))
            if answer.sent and answer.cloud_s > 0.0:  # else the server does not tell the one from the other
                link_s = answer.link_s + (answer.rest_s or 0.0)
                fresh["link"].append(Sample(float(forecast.link_s[row]), link_s, ended_s, placement))
                if _tells(forecast.cloud_s, row):
                    fresh["cloud"].append(Sample(float(forecast.cloud_s[row]), answer.cloud_s, ended_s))
            elif not answer.sent and answer.rest_s is not None:
                fresh["here"].append(Sample(float(forecast.link_s[row]), answer.rest_s, ended_s))
        for name, samples in fresh.items():
            usable = [one for one in samples if _is_time(one.predicted_s) and _is_time(one.measured_s)]
            if usable:
                self._parts[name].extend(usable)
                self._applied = NO_CORRECTIONS

    def _settle(self, forecast: Forecast, observation: Observation) -> None:
        hindsight = StaleSampleFilter(forecast, observation, self._clock(), self._row)
        self._parts["edge"].settle(hindsight.edge)
        self._parts["link"].settle(hindsight.link)

    def _row(self, placements: Placements, placement: Placement) -> int | None:
        if self._rows[0] is not placements:
            self._rows = (placements, {placements[row]: row for row in range(len(placements))})
        return self._rows[1].get(placement)

    def _apply(self, placements: Placements, now_s: float) -> Corrections:
        forget_s = self._settings.forget_s
        until_s = math.inf if forget_s is None else now_s + _HOLDS * forget_s
        lines = {name: part.line(now_s) for name, part in self._parts.items()}
        self._applied = Corrections.of(lines, placements, now_s, until_s)
        return self._applied

    def _say(self) -> None:
        now_s = self._clock()
        for name, part in self._parts.items():
            effect = part.effect(now_s)
            said, said_s = self._said[name]
            if abs(log_ratio(effect, said)) > math.log1p(_WORTH_A_LINE) and now_s - said_s > _QUIET_S:
                self._said[name] = (effect, now_s)
                ratio, offset_s = part.line(now_s)
                _log.info("calibrated", part=name, ratio=ratio, offset_s=offset_s, samples=len(part))


def _tells(part_s: Floats, row: int) -> bool:
    """Whether a run is long enough to tell a factor. Shorter ones would push out of the window those that do."""
    return bool(part_s[row] > min(_COMPUTING.offset_sd_s, _TELLING * float(part_s.max())))


def _is_time(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds >= 0.0
