"""Calibration that outlives the process: a small JSON file, for the same model and predictors only."""

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
_EVERY_S: Final = 5.0
_LARGEST_BYTES: Final = 1_000_000


class _StoredCalibration(msgspec.Struct):
    """The file. Samples are predicted and measured seconds, and when, seconds since the epoch."""

    format: str
    rests_on: dict[str, str]
    parts: dict[str, list[tuple[float, float, float]]]


class CalibrationStore:
    """Keeps what a calibration has learnt. A file that is not usable is said once and set aside; it is begun anew.

    Args:
        path: written whole or not at all.
        rests_on: what corrections hold for; a file for anything else is not used.
    """

    def __init__(self, calibration: Calibration, path: str, rests_on: Mapping[str, str]) -> None:
        self._calibration = calibration
        self._path = Path(path).expanduser()
        self._rests_on = dict(rests_on)
        self._written_s = -math.inf
        self._told: dict[str, list[tuple[float, float]]] = {}
        self._failed = False

    def load(self) -> None:
        """Go on where the file ended; time has passed since, so that part of it may be forgotten."""
        try:
            with self._path.open("rb") as file:
                stored = _checked(file.read(_LARGEST_BYTES), set(self._calibration.samples()))
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            _log.warning("calibration begins anew: its file is not usable", file=str(self._path), reason=str(error))
            self._set_aside()
            return
        if stored.rests_on != self._rests_on:
            others = sorted(stored.rests_on.items() ^ self._rests_on.items())
            differing = ", ".join(dict.fromkeys(name for name, _ in others))
            _log.warning("calibration begins anew: its file is of another", file=str(self._path), other=differing)
            self._set_aside()
            return
        now_s = time.time()
        self._calibration.restore(
            {
                name: [
                    Sample(predicted_s, measured_s, max(now_s - at_s, 0.0)) for predicted_s, measured_s, at_s in ones
                ]
                for name, ones in stored.parts.items()
            }
        )
        _log.info(
            "calibration goes on", file=str(self._path), **{name: len(ones) for name, ones in stored.parts.items()}
        )

    def save(self, *, now: bool = False) -> None:
        """Write the file, unless it was written a few seconds ago; a failure is said once."""
        if not now and time.monotonic() - self._written_s < _EVERY_S:
            return
        self._written_s, epoch_s = time.monotonic(), time.time()
        samples = self._calibration.samples()
        told = {name: [(one.predicted_s, one.measured_s) for one in ones] for name, ones in samples.items()}
        if told == self._told:  # nothing new: memory cards wear out
            return
        parts = {
            name: [(one.predicted_s, one.measured_s, epoch_s - one.at_s) for one in ones]
            for name, ones in samples.items()
        }
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        try:
            beside.write_bytes(msgspec.json.encode(_StoredCalibration(_FORMAT, self._rests_on, parts)) + b"\n")
            beside.replace(self._path)
        except OSError as error:
            if not self._failed:
                _log.warning("calibration cannot be saved", file=str(self._path), reason=str(error))
            self._failed = True
        else:
            self._failed = False
            self._told = told

    def _set_aside(self) -> None:
        """It may be somebody else's, or be wanted again."""
        with contextlib.suppress(OSError):
            self._path.replace(self._path.with_name(f"{self._path.name}.old"))


def _checked(data: bytes, parts: set[str]) -> _StoredCalibration:
    stored = msgspec.json.decode(data, type=_StoredCalibration)
    if stored.format != _FORMAT:
        raise ValueError(f"format is {stored.format[:40]!r}, expected {_FORMAT!r}")
    if set(stored.parts) != parts:
        raise ValueError(f"its parts must be {', '.join(sorted(parts))}")
    for samples in stored.parts.values():
        for sample in samples:
            if not all(math.isfinite(number) and number >= 0.0 for number in sample):
                raise ValueError(f"{sample} is no sample: seconds are finite and not negative")
    return stored
