"""Merges telemetry sources into one observation. Each source is read on a thread of its own."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import structlog

from midcut.errors import ConfigError, MidcutError, TelemetryError
from midcut.protocols import TelemetrySource, TransferListener
from midcut.types import FIELDS, Observation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.types import Transfer

_log = structlog.get_logger(__name__)
_JOIN_S = 2.0


@dataclass
class _Watch:
    """One source and what is known of it; guarded by the hub's lock."""

    name: str
    source: TelemetrySource
    max_age_s: float
    values: dict[str, tuple[float, float]] = field(default_factory=dict)  # field -> (value, monotonic time)
    error: str = ""
    reported: bool = False
    deaf: bool = False  # its transferred() raised, which was reported
    heard_s: float = field(default_factory=time.monotonic)  # when read() last returned
    answered: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class TelemetryHub:
    """Keeps the last good value of every source.

    Where two sources give one field, the first in the mapping wins while its value is fresh; the others stand in
    for it. A source in trouble is reported once, and once more when it recovers.

    Args:
        sources: name -> source, in order of priority.
        max_age_s: a value older than this is missing; a source's own `max_age_s` may be less.

    Raises:
        ConfigError: a source that reads so seldom that its values would be missing between two reads.
    """

    def __init__(self, sources: Mapping[str, TelemetrySource], max_age_s: float) -> None:
        self._watches = [
            _Watch(name, source, min(max_age_s, getattr(source, "max_age_s", max_age_s)))
            for name, source in sources.items()
        ]
        for watch in self._watches:
            if not 0.0 < watch.source.interval_s <= watch.max_age_s:
                raise ConfigError(
                    f"telemetry.{watch.name}.interval_s must be over 0 and at most max_age_s={watch.max_age_s:g}, "
                    f"got {watch.source.interval_s:g}: its values would be missing between two reads"
                )
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to read, every source on its own daemon thread."""
        for watch in self._watches:
            watch.heard_s = time.monotonic()
            watch.thread = threading.Thread(
                target=self._follow, args=(watch,), name=f"telemetry-{watch.name}", daemon=True
            )
            watch.thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until every source has answered or failed once; False where the time is up first."""
        deadline = time.monotonic() + timeout_s
        return all(watch.answered.wait(max(deadline - time.monotonic(), 0.0)) for watch in self._watches)

    def observe(self) -> Observation:
        """Return what is known now. Never blocks on a source; safe from any thread."""
        now = time.monotonic()
        found: dict[str, Any] = {}
        source: dict[str, str] = {}
        age: dict[str, float] = {}
        missing: dict[str, str] = {}
        with self._lock:
            for name in FIELDS:
                fresh = [watch for watch in self._watches if self._fresh(watch, name, now)]
                if fresh:
                    found[name], at_s = fresh[0].values[name]
                    source[name], age[name] = fresh[0].name, max(now - at_s, 0.0)
                else:
                    missing[name] = self._why(name, now)
            late = [watch for watch in self._watches if not watch.reported and self._late(watch, now)]
            for watch in late:
                watch.reported = True
        for watch in late:
            _log.warning("telemetry source is stale", source=watch.name, max_age_s=watch.max_age_s)
        return Observation(**found, source=source, age_s=age, missing=missing)

    def transferred(self, transfer: Transfer) -> None:
        """Pass an exchange with the cloud on to the sources that measure passively."""
        for watch in self._watches:
            if isinstance(watch.source, TransferListener):
                try:
                    watch.source.transferred(transfer)
                except Exception as error:  # noqa: BLE001 - a stranger's source must not cost an inference
                    if not watch.deaf:
                        watch.deaf = True
                        _log.warning("telemetry source takes no transfers", source=watch.name, error=_text(error))

    def close(self) -> None:
        """Stop reading and close the sources. A source that does not return is left behind after 2 s."""
        self._stop.set()
        deadline = time.monotonic() + _JOIN_S
        for watch in self._watches:
            if watch.thread is None:
                _close(watch)
                continue
            watch.thread.join(max(deadline - time.monotonic(), 0.0))
            if watch.thread.is_alive():
                _log.warning("telemetry source does not return, left behind", source=watch.name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self, watch: _Watch) -> None:
        while not self._stop.is_set():
            try:
                self._took(watch, _checked(watch.source.read()))
            except Exception as error:  # noqa: BLE001 - a stranger's source may raise anything
                self._failed(watch, error)
            watch.answered.set()
            self._stop.wait(watch.source.interval_s)
        _close(watch)

    def _took(self, watch: _Watch, values: dict[str, float]) -> None:
        now = time.monotonic()
        with self._lock:
            watch.heard_s, watch.error = now, ""
            watch.values.update({name: (value, now) for name, value in values.items()})
            recovered = watch.reported and not self._late(watch, now)
            watch.reported = watch.reported and not recovered
        if recovered:
            _log.info("telemetry source recovered", source=watch.name)

    def _failed(self, watch: _Watch, error: Exception) -> None:
        text = _text(error)
        with self._lock:
            watch.heard_s, watch.error = time.monotonic(), text
            new, watch.reported = not watch.reported, True
        if new:
            _log.warning("telemetry source failed", source=watch.name, error=text)

    def _fresh(self, watch: _Watch, name: str, now: float) -> bool:
        return name in watch.values and now - watch.values[name][1] <= watch.max_age_s

    def _late(self, watch: _Watch, now: float) -> bool:
        if now - watch.heard_s > watch.max_age_s + watch.source.interval_s:
            return True
        return any(not self._fresh(watch, name, now) for name in watch.values)

    def _why(self, name: str, now: float) -> str:
        reasons = [
            f"{watch.name}: last value is {now - watch.values[name][1]:.1f} s old, over max_age_s={watch.max_age_s:g}"
            + (f" ({watch.error})" if watch.error else "")
            for watch in self._watches
            if name in watch.values
        ]
        if not reasons:
            reasons = ["no telemetry source gave it"]
            for watch in self._watches:
                if watch.error and not watch.values:
                    reasons.append(f"{watch.name}: {watch.error}")
                elif not watch.answered.is_set():
                    reasons.append(f"{watch.name}: not answered yet")
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


def _close(watch: _Watch) -> None:
    try:
        watch.source.close()
    except Exception as error:  # noqa: BLE001 - the others must be closed too
        _log.warning("telemetry source did not close", source=watch.name, error=_text(error))


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, MidcutError) else f"{type(error).__name__}: {error}"
