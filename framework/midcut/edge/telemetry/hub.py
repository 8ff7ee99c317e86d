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
from midcut.fields import known_fields
from midcut.protocols import AgeingSource
from midcut.types import FIELDS, Observation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from midcut.protocols import TelemetrySource
    from midcut.types import Transfer

_log = structlog.get_logger(__name__)
_JOIN_S: Final = 2.0
_MOST_CHARACTERS: Final = 300
# How often a standby source checks whether it is needed; also the shortest time between two reads of a listener.
_POLL_S: Final = 0.1


class TelemetryHub:
    """Keeps the last good value of every source.

    Where several sources give the same field, the first in the mapping wins while its value is fresh; the others
    stand in for it. A source that fails or goes stale is logged once, and once more when it recovers.

    A source that is a `TransferListener` is read soon after an exchange; the values of an `AgeingSource` are brought up
    to date with each observation. A source with the attribute `quiet` measures
    the link itself and is read between exchanges, because during an exchange it would measure our own queued bytes.
    If no pause comes within 2 s it is read all the same. A ping that was read then, or all through an exchange that
    began just after the read, does not replace a smaller one that was under 5 s old when the exchange began.
    A source with the attribute `standby` is read once, and afterwards only while a field that it gives is missing
    from the sources before it or older there than half of their max_age_s; then the newer value counts.

    Args:
        sources: name -> source, in order of priority.
        max_age_s: a value older than this is missing; a source's own `max_age_s` may be less.

    Raises:
        ConfigError: a source is read so seldom that its values would be missing between two reads.
    """

    def __init__(self, sources: Mapping[str, TelemetrySource], max_age_s: float) -> None:
        self._states = [
            SourceState(name, source, min(max_age_s, getattr(source, "max_age_s", max_age_s)))
            for name, source in sources.items()
        ]
        for state in self._states:
            if not 0.0 < state.interval_s <= state.max_age_s:
                raise ConfigError(
                    f"telemetry.{state.name}.interval_s must be over 0 and at most max_age_s={state.max_age_s:g}, "
                    f"got {state.interval_s:g}: its values would be missing between two reads"
                )
        self._listening = [(state, state.listener) for state in self._states if state.listener is not None]
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._traffic = Traffic()

    def start(self) -> None:
        """Start reading, every source on its own daemon thread."""
        for state in self._states:
            state.last_read_at_s = time.monotonic()
            state.thread = threading.Thread(
                target=self._read_until_stopped, args=(state,), name=f"telemetry-{state.name}", daemon=True
            )
            state.thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until every source has answered or failed once; False on timeout."""
        deadline = time.monotonic() + timeout_s
        return all(state.answered.wait(max(deadline - time.monotonic(), 0.0)) for state in self._states)

    def observe(self) -> Observation:
        """Return the current observation. Never blocks on a source; safe from any thread."""
        now = time.monotonic()
        values: dict[str, Any] = {}
        present = self._present_values()
        source: dict[str, str] = {}
        age: dict[str, float] = {}
        missing: dict[str, str] = {}
        with self._lock:
            for name in known_fields():
                best = self._best_source(name, now)
                if best is not None:
                    value, at_s = best.values[name]
                    values[name] = present.get(best.name, {}).get(name, value)
                    source[name], age[name] = best.name, max(now - at_s, 0.0)
                elif name in FIELDS or any(name in state.values for state in self._states):
                    missing[name] = self._why_missing(name, now)
            stale = [state for state in self._states if not state.reported and state.is_stale(now)]
            for state in stale:
                state.reported = True
        for state in stale:
            _log.warning("telemetry source is stale", source=state.name, max_age_s=state.max_age_s)
        return Observation.of(values, source=source, age_s=age, missing=missing, pause_s=self._traffic.pause_s())

    def exchanging(self, sent_bytes: int = 0) -> AbstractContextManager[None]:
        """Return a context manager: while it is open, an exchange that sends at most `sent_bytes` counts as running."""
        return self._traffic.exchanging(sent_bytes)

    def transferred(self, transfer: Transfer) -> None:
        """Pass an exchange, with the current ping, on to the sources that measure passively."""
        if not self._listening:
            return
        if transfer.ping_s is None:
            now = time.monotonic()
            with self._lock:
                best = self._best_source("ping_ms", now)
                ping_s = None if best is None else best.values["ping_ms"][0] / 1e3
            transfer = replace(transfer, ping_s=ping_s)
        for state, listener in self._listening:
            try:
                listener.transferred(transfer)
                state.new_data.set()
            except BaseException as error:  # noqa: BLE001 - a faulty third-party source must not fail an inference
                if not state.listener_failed:
                    state.listener_failed = True
                    _log.warning("telemetry source failed on a transfer", source=state.name, error=_error_text(error))

    def close(self) -> None:
        """Stop reading and close the sources. A source whose read has not returned after 2 s is abandoned."""
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
                _log.warning("telemetry source does not return, abandoned", source=state.name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_until_stopped(self, state: SourceState) -> None:
        read_at_s = -math.inf
        while not self._stop.is_set():
            if self._is_needed(state, read_at_s):
                try:
                    self._store(state, *self._read(state))
                except BaseException as error:  # noqa: BLE001 - SystemExit or a panic would end the thread unnoticed
                    self._store_error(state, error)
                state.answered.set()
                read_at_s = time.monotonic()
            self._wait_for_next_read(state)
        _close(state)

    def _is_needed(self, state: SourceState, read_at_s: float) -> bool:
        """Whether to read a source now. A standby source is not needed while those before it give its fields."""
        if not state.standby or not state.answered.is_set():
            return True
        now = time.monotonic()
        with self._lock:
            before = self._states[: self._states.index(state)]
            covered = state.values and all(
                any(not other.is_ageing(name, now) for other in before) for name in state.values
            )
            if covered:
                state.resting, state.last_read_at_s = True, now
        return not covered and now - read_at_s >= state.interval_s

    def _wait_for_next_read(self, state: SourceState) -> None:
        """Wait until the next read is due, or a listener has new data."""
        interval_s = state.interval_s
        if state.standby:
            self._stop.wait(min(interval_s, _POLL_S))
        elif state.listener is not None:
            self._stop.wait(min(interval_s, _POLL_S))
            state.new_data.wait(max(interval_s - _POLL_S, 0.0))
            state.new_data.clear()
        else:
            self._stop.wait(interval_s)

    def _read(self, state: SourceState) -> tuple[dict[str, float], float | None]:
        """The values, and when the exchange began that disturbed a quiet source; None if none did."""
        if not state.calm_s:
            return _checked_values(state.source.read()), None
        calm = self._traffic.wait_until_idle(state.calm_s)
        began_at_s = time.monotonic()
        values = _checked_values(state.source.read())
        # The smallest of several pings counts, so that one in calm is enough; the first cannot have ended before that.
        first_at_s = began_at_s + values.get("ping_ms", 0.0) / 1e3
        since_s = [each.began_at_s for each in self._traffic.running() if each.began_at_s < first_at_s]
        return values, min(since_s, default=None if calm else began_at_s)

    def _store(self, state: SourceState, values: dict[str, float], disturbed_since_s: float | None) -> None:
        now = time.monotonic()
        with self._lock:
            state.store(values, now, disturbed_since_s)
            recovered = state.reported and not state.is_stale(now)
            state.reported = state.reported and not recovered
        if recovered:
            _log.info("telemetry source recovered", source=state.name)

    def _store_error(self, state: SourceState, error: BaseException) -> None:
        text = _error_text(error)
        with self._lock:
            state.last_read_at_s, state.error, state.resting = time.monotonic(), text, False
            is_new, state.reported = not state.reported, True
        if is_new:
            _log.warning("telemetry source failed", source=state.name, error=text)

    def _present_values(self) -> dict[str, dict[str, float]]:
        """Source -> the fields whose values have changed since it was read."""
        ageing = [(state, state.source) for state in self._states if isinstance(state.source, AgeingSource)]
        running = self._traffic.running() if ageing else []
        present = {}
        for state, source in ageing:
            try:
                present[state.name] = _checked_values(source.present(running))
            except BaseException as error:  # noqa: BLE001 - the value of its last read still holds
                self._store_error(state, error)
        return present

    def _best_source(self, name: str, now: float) -> SourceState | None:
        """The source whose value of a field counts; None where no source has a fresh one."""
        fresh = [state for state in self._states if state.is_fresh(name, now)]
        if not fresh:
            return None
        first = fresh[0]
        if first.is_ageing(name, now):
            for other in fresh[1:]:
                if other.standby and other.values[name][1] > first.values[name][1]:
                    return other
        return first

    def _why_missing(self, name: str, now: float) -> str:
        reasons = [state.why_missing(name, now) for state in self._states if name in state.values]
        if not reasons:
            reasons = ["no telemetry source gave it"]
            for state in self._states:
                if state.error and not state.values:
                    reasons.append(f"{state.name}: {state.error}")
                elif not state.answered.is_set():
                    reasons.append(f"{state.name}: not answered yet")
        return "; ".join(reasons)


def _checked_values(values: Mapping[str, float]) -> dict[str, float]:
    checked: dict[str, float] = {}
    for name, value in values.items():
        field = known_fields().get(name)
        if field is None:
            raise TelemetryError(f"gave the unknown field {name!r}; the fields are {', '.join(known_fields())}")
        number = float(value)
        if not math.isfinite(number) or not field.allows(number):
            raise TelemetryError(f"gave {name} = {value!r}; it must be a finite number {field.bound}")
        checked[name] = number
    return checked


def _close(state: SourceState) -> None:
    try:
        state.source.close()
    except BaseException as error:  # noqa: BLE001 - the other sources must be closed too
        _log.warning("telemetry source did not close", source=state.name, error=_error_text(error))


def _error_text(error: BaseException) -> str:
    """The error as one line, short enough for the log and for a decision that quotes it."""
    try:
        text = str(error) if isinstance(error, MidcutError) else f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a third-party error's own text may fail
        text = type(error).__name__
    text = " ".join(text.split())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
