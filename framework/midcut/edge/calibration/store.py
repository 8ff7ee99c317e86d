"""Stores a calibration across restarts in a small JSON file, for the same model and predictors only."""

from __future__ import annotations

import contextlib
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from midcut.edge.calibration.sample_window import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.edge.calibration.calibration import Calibration

_log = structlog.get_logger("midcut.edge")
_FORMAT: Final = "midcut-calibration/1"
_SAVE_EVERY_S: Final = 5.0
_MAX_FILE_BYTES: Final = 1_000_000


class _StoredCalibration(msgspec.Struct):
    """The file's content. A sample is predicted seconds, measured seconds, and its end in seconds since the epoch."""

    format: str
    rests_on: dict[str, str]
    parts: dict[str, list[tuple[float, float, float]]]


class CalibrationStore:
    """Saves and loads the samples of a calibration. An unusable file is logged, renamed to `.old`, and not used.

    Args:
        path: of the file, which is replaced atomically.
        rests_on: the model, profiles and so on that corrections are valid for; a file with others is not used.
    """

    def __init__(self, calibration: Calibration, path: str, rests_on: Mapping[str, str]) -> None:
        self._calibration = calibration
        self._path = Path(path).expanduser()
        self._rests_on = dict(rests_on)
        self._written_s = -math.inf
        self._saved: dict[str, list[tuple[float, float]]] = {}
        self._failed = False

    def load(self) -> None:
        """Restore the samples of the file; they are as old as they really are, so that they may have faded."""
        try:
            with self._path.open("rb") as file:
                stored = _decode_checked(file.read(_MAX_FILE_BYTES), set(self._calibration.samples()))
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            _log.warning("calibration starts empty: its file is not usable", file=str(self._path), reason=str(error))
            self._set_aside()
            return
        if stored.rests_on != self._rests_on:
            others = sorted(stored.rests_on.items() ^ self._rests_on.items())
            differing = ", ".join(dict.fromkeys(name for name, _ in others))
            _log.warning(
                "calibration starts empty: its file is for other inputs", file=str(self._path), differing=differing
            )
            self._set_aside()
            return
        now_s = time.time()
        self._calibration.restore(
            {
                name: [
                    Sample(predicted_s, measured_s, max(now_s - at_s, 0.0)) for predicted_s, measured_s, at_s in rows
                ]
                for name, rows in stored.parts.items()
            }
        )
        _log.info(
            "calibration restored", file=str(self._path), **{name: len(rows) for name, rows in stored.parts.items()}
        )

    def save(self, *, now: bool = False) -> None:
        """Write the file, unless it was written a few seconds ago; a repeated failure is logged once."""
        if not now and time.monotonic() - self._written_s < _SAVE_EVERY_S:
            return
        self._written_s, epoch_s = time.monotonic(), time.time()
        samples = self._calibration.samples()
        timings = {
            name: [(sample.predicted_s, sample.measured_s) for sample in window] for name, window in samples.items()
        }
        if timings == self._saved:  # nothing new; needless writes wear out memory cards
            return
        parts = {
            name: [(sample.predicted_s, sample.measured_s, epoch_s - sample.at_s) for sample in window]
            for name, window in samples.items()
        }
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        try:
            temporary.write_bytes(msgspec.json.encode(_StoredCalibration(_FORMAT, self._rests_on, parts)) + b"\n")
            temporary.replace(self._path)
        except OSError as error:
            if not self._failed:
                _log.warning("calibration cannot be saved", file=str(self._path), reason=str(error))
            self._failed = True
        else:
            self._failed = False
            self._saved = timings

    def _set_aside(self) -> None:
        """Rename the file rather than overwrite it: it may be another edge's, or be needed again."""
        with contextlib.suppress(OSError):
            self._path.replace(self._path.with_name(f"{self._path.name}.old"))


def _decode_checked(data: bytes, parts: set[str]) -> _StoredCalibration:
    stored = msgspec.json.decode(data, type=_StoredCalibration)
    if stored.format != _FORMAT:
        raise ValueError(f"format is {stored.format[:40]!r}, expected {_FORMAT!r}")
    if set(stored.parts) != parts:
        raise ValueError(f"its parts must be {', '.join(sorted(parts))}")
    for samples in stored.parts.values():
        for sample in samples:
            if not all(math.isfinite(number) and number >= 0.0 for number in sample):
                raise ValueError(f"{sample} is not a valid sample: seconds must be finite and not negative")
    return stored
