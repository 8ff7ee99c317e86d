"""Merges telemetry sources into one observation. Each source is read on a thread of its own."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from msgspec.structs import replace

from midcut.edge.telemetry.source_state import SourceState
from midcut.edge.telemetry.traffic import Traffic
from midcut.errors import ConfigError, MidcutError, TelemetryError
from midcut.types import FIELDS, Observation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from midcut.protocols import TelemetrySource
    from midcut.types import Transfer

_log = structlog.get_logger(__name__)
_JOIN_S: Final = 2.0
# A source that stands by looks so often whether it is needed; one that listens is read at most so often.
_LOOK_S: Final = 0.1


class TelemetryHub:
    """Keeps the last good value of every source.

    Where two sources give one field, the first in the mapping wins while its value is fresh; the others stand in
    for it. A source in trouble is reported once, and once more when it recovers.

    A source that is a `TransferListener` is read soon after an exchange. One with the attribute `quiet` measures the
    link itself and is read between exchanges: during one it would measure what we have queued. Where there is no
    calm for 2 s it is read all the same, and a ping under 5 s old that is smaller stands. One with the attribute
    `standby` is read once, and then only while what it gives is missing from the sources before it or past half of
    its life; then the newer value counts.

    Args:
        sources: name -> source, in order of priority.
        max_age_s: a value older than this is missing; a source's own `max_age_s` may be less.

    Raises:
        ConfigError: a source that reads so seldom that its values would be missing between two reads.
    """

    def __init__(self, sources: Mapping[str, TelemetrySource], max_age_s: float) -> None:
        self._states = [
            SourceState(name, source, min(max_age_s, getattr(source, "max_age_s", max_age_s)))
            for name, source in sources.items()
        ]
        for state in self._states:
            if not 0.0 < state.source.interval_s <= state.max_age_s:
                raise ConfigError(
                    f"telemetry.{state.name}.interval_s must be over 0 and at most max_age_s={state.max_age_s:g}, "
                    f"got {state.source.interval_s:g}: its values would be missing between two reads"
                )
        self._listening = [(state, state.listener) for state in self._states if state.listener is not None]
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._traffic = Traffic()

    def start(self) -> None:
        """Begin to read, every source on its own daemon thread."""
        for state in self._states:
            state.last_read_s = time.monotonic()
            state.thread = threading.Thread(
                target=self._follow, args=(state,), name=f"telemetry-{state.name}", daemon=True
            )
            state.thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until every source has answered or failed once; False where the time is up first."""
        deadline = time.monotonic() + timeout_s
        return all(state.answered.wait(max(deadline - time.monotonic(), 0.0)) for state in self._states)

    def observe(self) -> Observation:
        """Return what is known now. Never blocks on a source; safe from any thread."""
        now = time.monotonic()
        found: dict[str, Any] = {}
        source: dict[str, str] = {}
        age: dict[str, float] = {}
        missing: dict[str, str] = {}
        with self._lock:
            for name in FIELDS:
                best = self._best(name, now)
                if best is not None:
                    found[name], at_s = best.values[name]
                    source[name], age[name] = best.name, max(now - at_s, 0.0)
                else:
                    missing[name] = self._why(name, now)
            late = [state for state in self._states if not state.reported and state.late(now)]
            for state in late:
                state.reported = True
        for state in late:
            _log.warning("telemetry source is stale", source=state.name, max_age_s=state.max_age_s)
        return Observation(**found, source=source, age_s=age, missing=missing, pause_s=self._traffic.pause_s())

    def exchanging(self) -> AbstractContextManager[None]:
        """Say that an exchange with the cloud is under way meanwhile."""
        return self._traffic.exchanging()

    def transferred(self, transfer: Transfer) -> None:
        """Pass an exchange with the cloud on to the sources that measure passively, with the ping that is known."""
        if not self._listening:
            return
        if transfer.ping_s is None:
            now = time.monotonic()
            with self._lock:
                best = self._best("ping_ms", now)
                ping_s = None if best is None else best.values["ping_ms"][0] / 1e3
            transfer = replace(transfer, ping_s=ping_s)
        for state, listener in self._listening:
            try:
                listener.transferred(transfer)
                state.new_data.set()
            except Exception as error:  # noqa: BLE001 - a stranger's source must not cost an inference
                if not state.listener_failed:
                    state.listener_failed = True
                    _log.warning("telemetry source takes no transfers", source=state.name, error=_text(error))

    def close(self) -> None:
        """Stop reading and close the sources. A source that does not return is left behind after 2 s."""
        self._stop.set()
        self._traffic.close()
        for state in self._states:
            state.new_data.set()
        deadline = time.monotonic() + _JOIN_S
        for state in self._states:
            if state.thread is None:
                _close(state)
                continue
            state.thread.join(max(deadline - time.monotonic(), 0.0))
            if state.thread.is_alive():
                _log.warning("telemetry source does not return, left behind", source=state.name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self, state: SourceState) -> None:
        read_s = -math.inf
        while not self._stop.is_set():
            if self._needed(state, read_s):
                spoilt = state.calm_s > 0.0 and not self._traffic.calm(state.calm_s)
                try:
                    self._took(state, _checked(state.source.read()), spoilt=spoilt)
                except Exception as error:  # noqa: BLE001 - a stranger's source may raise anything
                    self._failed(state, error)
                state.answered.set()
                read_s = time.monotonic()
            self._rest(state)
        _close(state)

    def _needed(self, state: SourceState, read_s: float) -> bool:
        """Whether to read a source now. One that stands by is not needed while those before it tell what it would."""
        if not state.standby or not state.answered.is_set():
            return True
        now = time.monotonic()
        with self._lock:
            before = self._states[: self._states.index(state)]
            told = state.values and all(any(not other.ageing(name, now) for other in before) for name in state.values)
            if told:
                state.resting, state.last_read_s = True, now
        return not told and now - read_s >= state.source.interval_s

    def _rest(self, state: SourceState) -> None:
        """Until the next read is due."""
        interval_s = state.source.interval_s
        if state.standby:
            self._stop.wait(min(interval_s, _LOOK_S))
        elif state.listener is not None:
            self._stop.wait(min(interval_s, _LOOK_S))
            state.new_data.wait(max(interval_s - _LOOK_S, 0.0))
            state.new_data.clear()
        else:
            self._stop.wait(interval_s)

    def _took(self, state: SourceState, values: dict[str, float], *, spoilt: bool) -> None:
        now = time.monotonic()
        with self._lock:
            state.take(values, now, spoilt=spoilt)
            recovered = state.reported and not state.late(now)
            state.reported = state.reported and not recovered
        if recovered:
            _log.info("telemetry source recovered", source=state.name)

    def _failed(self, state: SourceState, error: Exception) -> None:
        text = _text(error)
        with self._lock:
            state.last_read_s, state.error, state.resting = time.monotonic(), text, False
            new, state.reported = not state.reported, True
        if new:
            _log.warning("telemetry source failed", source=state.name, error=text)

    def _best(self, name: str, now: float) -> SourceState | None:
        """Whose value of a field counts; None where nobody's does."""
        fresh = [state for state in self._states if state.fresh(name, now)]
        if not fresh:
            return None
        first = fresh[0]
        if first.ageing(name, now):
            for other in fresh[1:]:
                if other.standby and other.values[name][1] > first.values[name][1]:
                    return other
        return first

    def _why(self, name: str, now: float) -> str:
        reasons = [state.why_missing(name, now) for state in self._states if name in state.values]
        if not reasons:
            reasons = ["no telemetry source gave it"]
            for state in self._states:
                if state.error and not state.values:
                    reasons.append(f"{state.name}: {state.error}")
                elif not state.answered.is_set():
                    reasons.append(f"{state.name}: not answered yet")
        return "; ".join(reasons)


def _checked(values: Mapping[str, float]) -> dict[str, float]:
    checked: dict[str, float] = {}
    for name, value in values.items():
        if name not in FIELDS:
            raise TelemetryError(f"gave the unknown field {name!r}; the fields are {', '.join(FIELDS)}")
        number = float(value)
        if not math.isfinite(number) or number < 0.0 or (number == 0.0 and name != "ping_ms"):
            raise TelemetryError(f"gave {name} = {value!r}; it must be a finite number over 0")
        checked[name] = number
    return checked


def _close(state: SourceState) -> None:
    try:
        state.source.close()
    except Exception as error:  # noqa: BLE001 - the others must be closed too
        _log.warning("telemetry source did not close", source=state.name, error=_text(error))


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, MidcutError) else f"{type(error).__name__}: {error}"
