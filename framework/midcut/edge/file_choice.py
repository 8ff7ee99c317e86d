"""Chooses, for each picture, between its file at cut 0 and another placement, by the bytes that this file has."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from midcut.edge.second_choice import choose_again
from midcut.types import Placement
from midcut.wire.oip import FILE, RAW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midcut.edge.picture_input import PictureInput
    from midcut.planning.policy import Policy
    from midcut.protocols import Codec
    from midcut.serving.reference_pictures import PictureInputs
    from midcut.types import Decision, Encoded, Tensor, ValueSpec

_log = structlog.get_logger("midcut.edge")
FILE_AT_0: Final = Placement(0, FILE)
# Files whose sizes differ by less than this factor go the same way, so that the planner is not asked for each.
_STEP: Final = 1.2
# Smoothing factor of the usual size of files, and the change of it that starts planning anew.
_NEWEST_WEIGHT: Final = 0.1
_CHANGE: Final = 1.25


class FileSizes:
    """The codec `file` with the usual size of this edge's files as its estimate.

    Args:
        pictures: digests and seconds of this edge's preprocessing. A cloud is assumed to take the same seconds.
        clock_mhz: of this edge now; None if unknown.

    Attributes:
        digests: format -> digest of what this edge makes of reference pictures.
        bytes: the estimate that forecasts use.
        on_change: called when the files have become much larger or smaller.
    """

    agreement: float | None = 1.0

    def __init__(self, codec: Codec, pictures: PictureInputs, clock_mhz: float | None = None) -> None:
        self.name, self.digests, self.clock_mhz = codec.name, pictures.digests, clock_mhz
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

    def encode_s(self, spec: ValueSpec) -> float:  # noqa: ARG002 - a file is sent as it came
        return 0.0


class _Choices:
    """What is known for one decision: the placement without files, and which sizes of files are sent.

    Attributes:
        row: of the file in the forecast; None where none may be sent.
        sent: step of size -> whether such a file is sent, as far as the planner was asked.
    """

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.row = None if decision.forecast is None else decision.forecast.find(FILE_AT_0)
        self.otherwise = None if decision.placement == FILE_AT_0 else decision.placement
        self.sent: dict[int, bool] = {}


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
        self._choices: _Choices | None = None

    def compare(self, digests: Mapping[str, str]) -> list[str]:
        """Take the cloud's digests; returns the formats that both sides read, but differently."""
        self.formats = frozenset(name for name, digest in self._digests.items() if digests.get(name) == digest)
        return sorted(self._digests.keys() & digests.keys() - self.formats)

    def choose(self, decision: Decision, picture: PictureInput) -> Placement:
        """The placement for one picture."""
        size = len(picture.data)
        self._sizes.record(size)
        choices = self._choices_for(decision)
        if picture.file_format not in self.formats:
            return self._otherwise(choices)
        if choices.row is None:  # the file may still be in use from an earlier decision
            return decision.placement if decision.placement == FILE_AT_0 else self._otherwise(choices)
        step = math.ceil(math.log(max(size, 1), _STEP))
        if step not in choices.sent:
            choices.sent[step] = self._is_sent(decision, choices.row, _STEP**step)
        return FILE_AT_0 if choices.sent[step] else self._otherwise(choices)

    def for_tensors(self, decision: Decision) -> Placement:
        """The placement for inputs that have no file."""
        return self._otherwise(self._choices_for(decision))

    def _choices_for(self, decision: Decision) -> _Choices:
        if self._choices is None or self._choices.decision is not decision:
            self._choices = _Choices(decision)
        return self._choices

    def _otherwise(self, choices: _Choices) -> Placement:
        if choices.otherwise is None:
            choices.otherwise = self._without_files(choices.decision, choices.row)
        return choices.otherwise

    def _without_files(self, decision: Decision, row: int | None) -> Placement:
        """What is sent in place of a file: the planner's choice, else a tensor at cut 0, else nothing."""
        policy = self._policy()
        if decision.forecast is not None and row is not None:
            others = decision.forecast.without(row)
            chosen = choose_again(policy, others)
            if chosen is not None:
                return others.placements[chosen]
        on_offer = policy.placements
        placements = (on_offer[index] for index in range(len(on_offer)))
        at_0 = (placement for placement in placements if placement.cut == 0 and placement.codec != FILE)
        return next(at_0, Placement(on_offer.nodes, RAW))

    def _is_sent(self, decision: Decision, row: int, size_bytes: float) -> bool:
        """Whether the planner sends a file of this size, which takes another time on the link than the usual size."""
        policy, forecast, kbps = self._policy(), decision.forecast, decision.observation.bandwidth_kbps
        if forecast is None or not kbps or policy.placements is not forecast.placements:  # it has just been replaced
            return decision.placement == FILE_AT_0
        link_s, request_bytes = forecast.link_s.copy(), policy.placements.request_bytes.copy()
        more_bytes = size_bytes - float(request_bytes[row])
        link_s[row] = max(link_s[row] + more_bytes * 8 / 1000 / kbps, 0.0)
        request_bytes[row] = size_bytes  # traffic may be billed, and counts as energy
        sized = replace(policy, placements=replace(policy.placements, request_bytes=request_bytes))
        of_this_size = sized.complete(
            decision.observation, forecast.edge_s, link_s, forecast.cloud_s, between=forecast.between
        )
        return choose_again(sized, of_this_size) == row
