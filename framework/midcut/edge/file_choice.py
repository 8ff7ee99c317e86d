"""Chooses, for each picture, between its file at cut 0 and another placement, by the bytes that this file has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import structlog

from midcut.planning.policy import choose_in_time
from midcut.types import Placement
from midcut.wire.oip import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midcut.edge.picture_input import PictureInput
    from midcut.planning.policy import Policy
    from midcut.protocols import Codec
    from midcut.serving.reference_pictures import PictureInputs
    from midcut.types import Decision, Encoded, Forecast, Tensor, ValueSpec

_log = structlog.get_logger("midcut.edge")
FILE_AT_0: Final = Placement(0, FILE)
_UNUSED_WEIGHT: Final = 0.5
# Sizes of files, as multiples of the usual one, for which the planner is asked.
_MULTIPLES: Final = np.concatenate(([0.0], np.geomspace(1 / 256, 16, 49)))
# Smoothing factor of the usual size of files, and the change of it that starts planning anew.
_NEWEST_WEIGHT: Final = 0.1
_CHANGE: Final = 1.25


class FileSizes:
    """The codec `file` with the usual size of this edge's files as its estimate.

    Args:
        pictures: how this edge preprocesses them. A cloud is assumed to be as quick.

    Attributes:
        digests: format -> digest of what this edge makes of reference pictures.
        bytes: the estimate that forecasts use.
        on_change: called when the files have become much larger or smaller.
    """

    agreement: float | None = 1.0

    def __init__(self, codec: Codec, pictures: PictureInputs) -> None:
        self.name, self.digests = codec.name, pictures.digests
        self.on_change: list[Callable[[], None]] = []
        self._codec, self._cloud_s = codec, pictures.seconds
        self._usual: float | None = None
        self.bytes = 0.0

    def record(self, size_bytes: int) -> None:
        """Take the size of one file into the estimate."""
        usual = self._usual
        self._usual = size_bytes if usual is None else usual + _NEWEST_WEIGHT * (size_bytes - usual)
        if not self.bytes / _CHANGE <= self._usual <= self.bytes * _CHANGE:
            _log.info("the usual size of files has changed", bytes=round(self._usual))
            self.bytes = self._usual
            for callback in self.on_change:
                callback()

    def encode(self, value: Tensor) -> Encoded:
        return self._codec.encode(value)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        return self._codec.decode(encoded, spec)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        if not self.bytes:
            self.bytes = float(self._codec.encoded_bytes(spec))
        return round(self.bytes)

    def codec_s(self, spec: ValueSpec) -> float:  # noqa: ARG002 - decoding takes as long for every tensor
        return self._cloud_s


class _Choice(NamedTuple):
    """For one decision: the largest file that is sent, and what is done with others."""

    largest_bytes: float
    otherwise: Placement


class FileChoice:
    """Used on the event loop only.

    Args:
        sizes: the usual size, which the forecasts assume.
        policy: the policy in use, whose planner is asked.

    Attributes:
        formats: those that the cloud decodes as this edge does.
    """

    def __init__(self, sizes: FileSizes, policy: Callable[[], Policy]) -> None:
        self.formats: frozenset[str] = frozenset()
        self._digests = sizes.digests
        self._sizes, self._policy = sizes, policy
        self._choice: tuple[Decision | None, _Choice] = (None, _Choice(-1.0, FILE_AT_0))

    def compare(self, digests: Mapping[str, str]) -> list[str]:
        """Take the cloud's digests; returns the formats that both sides read, but differently."""
        self.formats = frozenset(name for name, digest in self._digests.items() if digests.get(name) == digest)
        return sorted(self._digests.keys() & digests.keys() - self.formats)

    def choose(self, decision: Decision, picture: PictureInput) -> Placement:
        """The placement for one picture."""
        self._sizes.record(len(picture.data))
        choice = self._choice_for(decision)
        sends = picture.file_format in self.formats and len(picture.data) <= choice.largest_bytes
        return FILE_AT_0 if sends else choice.otherwise

    def for_tensors(self, decision: Decision) -> Placement:
        """The placement for inputs that have no file."""
        return self._choice_for(decision).otherwise if decision.placement == FILE_AT_0 else decision.placement

    def _choice_for(self, decision: Decision) -> _Choice:
        if self._choice[0] is not decision:
            self._choice = (decision, self._find(decision))
        return self._choice[1]

    def _find(self, decision: Decision) -> _Choice:
        forecast = decision.forecast
        row = None if forecast is None else forecast.find(FILE_AT_0)
        if forecast is None or row is None:
            return _Choice(-1.0, decision.placement)
        policy = self._policy()
        placement = decision.placement
        if placement == FILE_AT_0:
            others = forecast.without(row)
            placement = others.placements[int(_rows(policy, others))]
        kbps = decision.observation.bandwidth_kbps
        if not kbps or policy.placements is not forecast.placements:  # the policy has just been replaced
            return _Choice(np.inf if decision.placement == FILE_AT_0 else -1.0, placement)
        assumed = float(forecast.placements.request_bytes[row])
        sizes = assumed * _MULTIPLES
        more_s = (sizes - assumed) * 8 / 1000 / kbps
        sent = _rows(policy, _at_sizes(forecast, row, more_s, policy, decision)) == row
        largest = float(sizes[sent].max(initial=-1.0))
        return _Choice(np.inf if sent[-1] else largest, placement)


def _at_sizes(forecast: Forecast, row: int, more_s: np.ndarray, policy: Policy, decision: Decision) -> Forecast:
    """The forecast once for each size of the file, shape (n, P).

    Args:
        more_s: seconds on the link beyond those of the usual size, shape (n,).
    """
    shape = (len(more_s), len(forecast))
    link_s = np.tile(forecast.link_s, (len(more_s), 1))
    link_s[:, row] = np.maximum(link_s[:, row] + more_s, 0.0)
    edge_s, cloud_s = np.broadcast_to(forecast.edge_s, shape), np.broadcast_to(forecast.cloud_s, shape)
    return policy.complete(decision.observation, edge_s, link_s, cloud_s)


def _rows(policy: Policy, forecast: Forecast) -> np.ndarray:
    w = _UNUSED_WEIGHT if policy.planner.w is None else policy.planner.w
    return np.asarray(
        choose_in_time(policy.planner, forecast, np.full(forecast.latency_s.shape[:-1], w), policy.reply_timeout_s)
    )
