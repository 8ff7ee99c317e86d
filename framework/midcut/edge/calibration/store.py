"""Stores a calibration across restarts in a small JSON file, for the same model and predictors only.

The file is replaced, or set aside, only where it is a calibration: a path that names something else by mistake (a
profile, a device, a link) is left as it is, and nothing is stored.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import tempfile
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from midcut.edge.calibration.calibration import PARTS, THIRD_TIER_PARTS
from midcut.edge.calibration.sample_window import AgedSample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.edge.calibration.calibration import Calibration

_log = structlog.get_logger("midcut.edge")
_FORMAT: Final = "midcut-calibration/1"
# Every calibration file begins with these bytes, in every version of the format, even if a power failure cut the file
# short.
_MARK: Final = b'"midcut-calibration/'
_MARK_WITHIN_BYTES: Final = 64
_SECONDS: Final = " seconds"  # follows a part's name, where `rests_on` says what its seconds are based on
_LONGEST_S: Final = 1e6
_SAVE_EVERY_S: Final = 5.0
_MAX_FILE_BYTES: Final = 1_000_000


class _StoredCalibration(msgspec.Struct):
    """The file's content. A sample is predicted seconds, measured seconds, and its end in seconds since the epoch."""

    format: str
    rests_on: dict[str, str]
    parts: dict[str, list[tuple[float, float, float]]]


class CalibrationStore:
    """Saves and loads the samples of a calibration. An unusable one is logged, renamed to `.old`, and not used.

    Args:
        path: of the file, which is replaced atomically.
        rests_on: the model, predictors and so on that corrections are valid for; a file with others is not used.
        based_on: part -> what its predicted seconds are based on at the start; of a file in which a part's are based on
            something else, that part is not used.
    """

    def __init__(
        self,
        calibration: Calibration,
        path: str,
        rests_on: Mapping[str, str],
        based_on: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._calibration = calibration
        self._path = Path(path).expanduser()
        self._rests_on = dict(rests_on)
        self._based_on = based_on
        self._written_at_s = -math.inf
        self._saved: dict[str, list[tuple[float, float]]] = {}
        self._failed = False

    def load(self) -> None:
        """Restore the samples of the file. Their age counts from when they were measured, so they may have faded."""
        if why := _why_not_replaced(self._path):
            self._log_failure("calibration starts empty and is not saved: its file is no calibration", why)
            return
        try:
            stored = _decode_checked(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            _log.warning("calibration starts empty: its file is not usable", file=str(self._path), reason=str(error))
            self._set_aside()
            return
        rests_on, based_on = _split(stored.rests_on)
        if rests_on != self._rests_on:
            others = sorted(rests_on.items() ^ self._rests_on.items())
            differing = ", ".join(dict.fromkeys(name for name, _ in others))
            _log.warning(
                "calibration starts empty: its file is for other inputs", file=str(self._path), differing=differing
            )
            self._set_aside()
            return
        other_seconds = [part for part in stored.parts if based_on.get(part) != self._based_on.get(part)]
        if other_seconds:
            _log.info("calibration of these parts begins anew: their seconds come from elsewhere", parts=other_seconds)
        now_s = time.time()
        self._calibration.restore(
            {
                name: [
                    AgedSample(predicted_s, measured_s, max(now_s - at_s, 0.0))
                    for predicted_s, measured_s, at_s in rows
                ]
                for name, rows in stored.parts.items()
                if name not in other_seconds
            }
        )
        counts = {name: len(rows) for name, rows in stored.parts.items() if name not in other_seconds}
        _log.info("calibration restored", file=str(self._path), **counts)

    def save(self, *, now: bool = False) -> None:
        """Write the file, unless it was written a few seconds ago; a repeated failure is logged once."""
        if not now and time.monotonic() - self._written_at_s < _SAVE_EVERY_S:
            return
        self._written_at_s, epoch_s = time.monotonic(), time.time()
        samples = self._calibration.samples()
        timings = {
            name: [(sample.predicted_s, sample.measured_s) for sample in window] for name, window in samples.items()
        }
        if timings == self._saved:  # nothing new; needless writes wear out memory cards
            return
        parts = {
            name: [(sample.predicted_s, sample.measured_s, epoch_s - sample.age_s) for sample in window]
            for name, window in samples.items()
        }
        if why := _why_not_replaced(self._path):
            self._log_failure("calibration cannot be saved", why)
            return
        try:
            based_on = self._calibration.based_on or self._based_on
            rests_on = self._rests_on | {f"{part}{_SECONDS}": source for part, source in based_on.items()}
            self._replace(msgspec.json.encode(_StoredCalibration(_FORMAT, rests_on, parts)) + b"\n")
        except OSError as error:
            self._log_failure("calibration cannot be saved", error.strerror or str(error))
        else:
            self._failed = False
            self._saved = timings

    def _replace(self, content: bytes) -> None:
        """Replace the file as a whole; nobody can have put a link in the place of the temporary one."""
        number, name = tempfile.mkstemp(prefix=f".{self._path.name}.", suffix=".part", dir=self._path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _log_failure(self, event: str, reason: str) -> None:
        if not self._failed:
            _log.warning(event, file=str(self._path), reason=reason)
        self._failed = True

    def _set_aside(self) -> None:
        """Rename the file rather than overwrite it: it may be another edge's, or be needed again.

        What is at the new name is replaced only where it is a calibration as well.
        """
        aside = self._path.with_name(f"{self._path.name}.old")
        if why := _why_not_replaced(aside):
            self._log_failure(f"calibration will not be saved: {aside.name} is in the way", why)
            return
        with contextlib.suppress(OSError):
            self._path.replace(aside)


def _split(stored: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What all of a file rests on, and what the seconds of each part are based on."""
    of_parts = {name for name in stored if name.endswith(_SECONDS)}
    rests_on = {name: value for name, value in stored.items() if name not in of_parts}
    return rests_on, {name.removesuffix(_SECONDS): stored[name] for name in of_parts}


def _why_not_replaced(path: Path) -> str:
    """Why a path must be left as it is; `""` where there is a calibration or nothing."""
    try:
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            return f"it is {_kind_text(mode)}"
        with path.open("rb") as file:
            beginning = file.read(_MARK_WITHIN_BYTES)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return "" if not beginning or _MARK in beginning else "it is a file of another kind"


def _decode_checked(data: bytes) -> _StoredCalibration:
    stored = msgspec.json.decode(data, type=_StoredCalibration)
    if stored.format != _FORMAT:
        raise ValueError(f"format is {stored.format[:40]!r}, expected {_FORMAT!r}")
    if not PARTS <= stored.parts.keys() <= PARTS | THIRD_TIER_PARTS:
        raise ValueError(
            f"its parts must be {', '.join(sorted(PARTS))}, and may be {', '.join(sorted(THIRD_TIER_PARTS))} as well"
        )
    for samples in stored.parts.values():
        for sample in samples:
            if not all(math.isfinite(number) and number >= 0.0 for number in sample) or max(sample[:2]) > _LONGEST_S:
                raise ValueError(f"{sample} is not a valid sample: seconds must be from 0 to {_LONGEST_S:g}")
    return stored


def _kind_text(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
