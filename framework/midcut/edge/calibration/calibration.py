"""Live calibration: the prediction error of answered requests corrects the predictors, per part of the latency."""

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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midcut.config.settings import CalibrationSettings
    from midcut.edge.calibration.sample_window import AgedSample
    from midcut.planning.policy import Forecaster, Policy
    from midcut.types import Decision, Floats, Forecast, InferenceResult, Observation, Placement, Placements

_log = structlog.get_logger("midcut.edge")
PARTS: Final = frozenset({"edge", "link", "cloud", "here"})
"""The parts that are corrected from the start; `here` is the waiting time of a request that sends nothing."""
THIRD_TIER_PARTS: Final = frozenset({"relay", "second_link"})
"""The parts that are corrected too once a relay and the cloud behind it have answered."""
# A throttled or shared processor is slower by a factor; the fixed overhead of a segment is far below 1 ms.
_COMPUTING: Final = Prior(ratio_sd=1.0, offset_sd_s=0.0003, lowest=0.001, highest=1000.0)
# A request has an overhead of some milliseconds at any size; the bandwidth itself is measured by telemetry.
_SENDING: Final = Prior(ratio_sd=0.1, offset_sd_s=0.005, lowest=0.6, highest=1.6, slack=0.3, noise_s=0.001)
# A request that sends nothing still spends some time being passed from thread to thread.
_WAITING_HERE: Final = Prior(ratio_sd=1e-3, offset_sd_s=0.001, lowest=1.0, highest=1.0, slack=0.3)
# Separating bandwidth from overhead takes more requests than fitting one factor.
_LINK_WINDOWS: Final = 2
# Share of the longest segment on offer: the time of a much shorter one is mostly overhead and shows no factor.
_LONG_ENOUGH: Final = 0.05
# A correction is logged when it has changed by this share, and at most once in _LOG_EVERY_S.
_LOGGED_CHANGE: Final = 0.1
_LOG_EVERY_S: Final = 5.0
_MAX_ANSWERS: Final = 64
_MAX_POLICIES: Final = 8
_LONGEST_S: Final = 1e6
# Three requests with a prediction error over 25 % start a planning step, ten times a second at most.
_SURPRISING_ERROR: Final = 0.25
_SURPRISES: Final = 3
_SURPRISE_EVERY_S: Final = 0.1
# What a runtime needs to make a segment; an export of a large model takes longer, which costs some samples.
_READY_S: Final = 60.0
# Corrections are reused for this share of `forget_s`: they fade by at most half a percent in that time.
_REUSED_SHARE: Final = 0.005


@dataclass(frozen=True, slots=True)
class _AnsweredRequest:
    """What the event loop records of an answered request.

    Attributes:
        forecast: the forecast it was sent by, before calibration corrected it.
        parts: measured seconds of each part of the latency.
        rest_s: seconds of the latency that no measured part covers; None if another request ran at the same time.
        sent: whether the cloud finished it.
        ended_at_s: when it ended, on the calibration's clock.
        stand_in: as of `InferenceResult`.
    """

    forecast: Forecast
    pause_s: float | None
    placement: Placement
    parts: Mapping[str, float]
    rest_s: float | None
    sent: bool
    ended_at_s: float
    stand_in: tuple[str, ...]


class Calibration:
    """Fits corrections to answered requests, and applies them to forecasts.

    Requests are recorded on the event loop; fitting and correcting happen on the planning thread. A sample is
    withdrawn when telemetry explains it a moment later (another clock, another link): the predictors were right.

    Args:
        clock: returns monotonic seconds.

    Attributes:
        on_surprise: called on the event loop when several requests took much longer or shorter than predicted, so
            that planning need not wait for its next step.
    """

    def __init__(self, settings: CalibrationSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        length, forget_s = settings.window, settings.forget_s
        self._windows = {
            "edge": SampleWindow(_COMPUTING, length, forget_s),
            "link": SampleWindow(_SENDING, _LINK_WINDOWS * length, forget_s),
            "cloud": SampleWindow(_COMPUTING, length, forget_s),
            "here": SampleWindow(_WAITING_HERE, length, forget_s),
        }
        self._answers: deque[_AnsweredRequest] = deque(maxlen=_MAX_ANSWERS)
        self.on_surprise: list[Callable[[], None]] = []
        self._surprises, self._surprised_at_s = 0, -math.inf
        self._logged = dict.fromkeys(self._windows, (1.0, -math.inf))
        self._rows: tuple[Placements | None, dict[Placement, int]] = (None, {})
        # What the predictors of the last policies were based on, newest last; each policy has placements of its own.
        self._policies: deque[tuple[Placements, Mapping[str, str]]] = deque(maxlen=_MAX_POLICIES)
        self._corrections = NO_CORRECTIONS
        self._has_new = False
        self._pause_s: float | None = None
        self._stand_in_since_s: dict[str, float] = {}
        self._lock = Lock()

    @property
    def based_on(self) -> Mapping[str, str]:
        """Part -> what its predicted seconds are based on, as `Policy.based_on`; empty before the first `learn`."""
        return self._policies[-1][1] if self._policies else {}

    def answered(self, decision: Decision, result: InferenceResult, *, alone: bool) -> None:
        """Record a request of the captured batch size. Takes microseconds; `learn` fits later.

        Args:
            decision: the planning decision with its prediction.
            alone: no other request was under way, so that it waited only for being handed between threads.
        """
        if decision.forecast is None or result.fallback:
            return
        rest_s = max(float(result.latency_s - sum(result.parts.values())), 0.0)
        self._answers.append(
            _AnsweredRequest(
                forecast=decision.forecast.uncorrected or decision.forecast,
                pause_s=decision.observation.pause_s,
                placement=result.placement,
                parts={name: float(part_s) for name, part_s in result.parts.items()},
                rest_s=rest_s if alone else None,
                sent=result.finished_by != "edge",
                ended_at_s=self._clock(),
                stand_in=result.stand_in,
            )
        )
        if not result.stand_in:
            self._note_surprise(result)

    def learn(self, policy: Policy, observation: Observation) -> None:
        """Fit the corrections to the requests answered since the last call.

        Args:
            observation: the present observation, with every field that the policy needs.
        """
        with self._lock:
            self._add_answers()
            self._use(policy)
            unsettled = any(window.samples[-1:] and window.samples[-1].placement for window in self._windows.values())
            if not self._has_new and not unsettled:
                return
            self._has_new = False
            pause_s = self._pause_s
        # With the pause of the samples, so that an idle link since then does not look like another link.
        # Not under the lock: a third-party predictor may be slow.
        forecast = policy.forecast(replace(observation, pause_s=pause_s))
        with self._lock:
            self._withdraw_stale(forecast, observation)
            self._update_corrections(policy.placements, self._clock())
            self._log_changes()

    def correct(self, forecast: Forecast, observation: Observation, forecaster: Forecaster) -> Forecast:
        """Return the forecast corrected by the last requests, or the same object if nothing is to be corrected."""
        now_s = self._clock()
        corrections = self._corrections
        if (
            corrections.placements is not forecast.placements
            or not corrections.from_at_s <= now_s <= corrections.until_at_s
        ):
            with self._lock:
                corrections = self._update_corrections(forecast.placements, now_s)
        return corrections.apply_to(forecast, observation, forecaster)

    def forget(self) -> None:
        """Delete all samples and corrections."""
        with self._lock:
            self._answers.clear()
            for window in self._windows.values():
                window.forget()
            self._corrections = NO_CORRECTIONS
            self._logged = dict.fromkeys(self._windows, (1.0, -math.inf))
        _log.info("calibration forgotten")

    def state(self) -> dict[str, Any]:
        """Return the present corrections, to be shown to people.

        Returns:
            JSON-able: per part `ratio` and `offset_s` (corrected = ratio * predicted + offset_s), the number of
            `samples` used, and `age_s` of the last one (None without any). The part `here` is the waiting time of a
            request that sends nothing; it counts as the link of that placement.
        """
        with self._lock:
            self._add_answers()
            now_s = self._clock()
            parts = {
                name: {**window.line(now_s)._asdict(), "samples": len(window), "age_s": window.age_s(now_s)}
                for name, window in self._windows.items()
            }
        return {"window": self._settings.window, "forget_s": self._settings.forget_s, "parts": parts}

    def samples(self) -> dict[str, list[AgedSample]]:
        """Part -> its samples, oldest first; `restore` takes them in this form."""
        with self._lock:
            self._add_answers()
            now_s = self._clock()
            return {name: [sample.aged(now_s) for sample in window.samples] for name, window in self._windows.items()}

    def restore(self, samples: Mapping[str, list[AgedSample]]) -> None:
        """Add samples in the form that `samples` returns."""
        with self._lock:
            now_s = self._clock()
            self._corrections = NO_CORRECTIONS
            for name, stored in samples.items():
                self._window(name).extend(
                    Sample(sample.predicted_s, sample.measured_s, now_s - sample.age_s) for sample in stored
                )

    def _use(self, policy: Policy) -> None:
        """Forget the samples of the parts whose predicted seconds come from elsewhere than before."""
        if self._policies and self._policies[-1][0] is policy.placements:
            return
        before = self.based_on if self._policies else policy.based_on
        self._policies.append((policy.placements, policy.based_on))
        for part, window in self._windows.items():
            if policy.based_on.get(part) != before.get(part):
                window.forget()
                self._corrections = NO_CORRECTIONS
                _log.info("calibration begins anew", part=part, based_on=policy.based_on.get(part))

    def _based_on(self, placements: Placements) -> Mapping[str, str]:
        """What the seconds that were predicted for these placements are based on."""
        return next((based_on for known, based_on in self._policies if known is placements), self.based_on)

    def _note_surprise(self, result: InferenceResult) -> None:
        predicted_s = result.predicted.get("latency_s")
        if predicted_s is None or abs(log_ratio(result.latency_s, predicted_s)) < math.log1p(_SURPRISING_ERROR):
            return
        self._surprises += 1
        if self._surprises >= _SURPRISES and self._clock() - self._surprised_at_s > _SURPRISE_EVERY_S:
            self._surprises, self._surprised_at_s = 0, self._clock()
            for callback in self.on_surprise:
                callback()

    def _add_answers(self) -> None:
        new_samples: dict[str, list[Sample]] = {}
        now_based_on = self.based_on
        while self._answers:
            answer = self._answers.popleft()
            self._has_new = True
            row = self._row_of(answer.forecast.placements, answer.placement)
            if row is None:
                continue
            based_on = self._based_on(answer.forecast.placements)
            self._pause_s = answer.pause_s
            for part, sample in _samples_of(answer, row).items():
                if based_on.get(part) == now_based_on.get(part) and not self._will_be_ready(part, answer):
                    new_samples.setdefault(part, []).append(sample)
        for name, samples in new_samples.items():
            usable = [sample for sample in samples if _is_time(sample.predicted_s) and _is_time(sample.measured_s)]
            if usable:
                self._window(name).extend(usable)
                self._corrections = NO_CORRECTIONS

    def _will_be_ready(self, part: str, answer: _AnsweredRequest) -> bool:
        """Whether PyTorch stood in for a part's runtime. One that is not ready for long may never be, and is learnt."""
        if part not in answer.stand_in:
            self._stand_in_since_s.pop(part, None)
            return False
        return answer.ended_at_s - self._stand_in_since_s.setdefault(part, answer.ended_at_s) < _READY_S

    def _window(self, name: str) -> SampleWindow:
        """The samples of a part; those of a third tier are there once it has answered."""
        if name not in self._windows:
            prior, windows = (_SENDING, _LINK_WINDOWS) if name == "second_link" else (_COMPUTING, 1)
            self._windows[name] = SampleWindow(prior, windows * self._settings.window, self._settings.forget_s)
            self._logged[name] = (1.0, -math.inf)
        return self._windows[name]

    def _withdraw_stale(self, forecast: Forecast, observation: Observation) -> None:
        stale_filter = StaleSampleFilter(forecast, observation, self._clock(), self._row_of)
        self._windows["edge"].settle(stale_filter.edge)
        self._windows["link"].settle(stale_filter.link)

    def _row_of(self, placements: Placements, placement: Placement) -> int | None:
        if self._rows[0] is not placements:
            self._rows = (placements, {placements[row]: row for row in range(len(placements))})
        return self._rows[1].get(placement)

    def _update_corrections(self, placements: Placements, now_s: float) -> Corrections:
        forget_s = self._settings.forget_s
        until_at_s = math.inf if forget_s is None else now_s + _REUSED_SHARE * forget_s
        lines = {name: window.line(now_s) for name, window in self._windows.items()}
        self._corrections = Corrections.of(lines, placements, now_s, until_at_s)
        return self._corrections

    def _log_changes(self) -> None:
        now_s = self._clock()
        for name, window in self._windows.items():
            effect = window.effect(now_s)
            logged, logged_at_s = self._logged[name]
            if abs(log_ratio(effect, logged)) > math.log1p(_LOGGED_CHANGE) and now_s - logged_at_s > _LOG_EVERY_S:
                self._logged[name] = (effect, now_s)
                ratio, offset_s = window.line(now_s)
                _log.info("calibrated", part=name, ratio=ratio, offset_s=offset_s, samples=len(window))


def _samples_of(answer: _AnsweredRequest, row: int) -> dict[str, Sample]:
    """What a request shows of each part of its latency; `row` is that of its placement."""
    forecast, ended_at_s, placement = answer.forecast, answer.ended_at_s, answer.placement
    predicted, measured = forecast.parts, answer.parts
    samples = {}
    if _is_long_enough(forecast.edge_s, row):
        samples["edge"] = Sample(float(forecast.edge_s[row]), measured["edge"], ended_at_s, placement)
    if answer.sent and measured["cloud"] + measured.get("relay", 0.0) > 0.0:  # else it reports no seconds
        link_s = measured["link"] + (answer.rest_s or 0.0)
        samples["link"] = Sample(float(forecast.link_s[row]), link_s, ended_at_s, placement)
        for part in ("relay", "second_link", "cloud"):
            is_used = measured.get(part, 0.0) > 0.0 and part in predicted
            if is_used and (part == "second_link" or _is_long_enough(predicted[part], row)):
                samples[part] = Sample(float(predicted[part][row]), measured[part], ended_at_s)
    elif not answer.sent and answer.rest_s is not None:
        samples["here"] = Sample(float(forecast.link_s[row]), answer.rest_s, ended_at_s)
    return samples


def _is_long_enough(part_s: Floats, row: int) -> bool:
    """Whether a segment is long enough to show a factor. Shorter ones would push longer ones out of the window."""
    return bool(part_s[row] > min(_COMPUTING.offset_sd_s, _LONG_ENOUGH * float(part_s.max())))


def _is_time(seconds: float) -> bool:
    """Whether seconds may be learnt: near the largest floats even a finite sum is not finite."""
    return 0.0 <= seconds <= _LONGEST_S
