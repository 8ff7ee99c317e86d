"""What codecs did to a model's payloads on pictures, by cut: rows for tables and figures. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midcut.profiles.profile import Coding, Profile
    from midcut.types import CutTable


class CodedCut(NamedTuple):
    """One codec at one cut.

    Attributes:
        after: the node before the cut, `input` at cut 0.
        raw_bytes: the payload as it is.
        sent_bytes: the payload as encoded, the mean over the pictures; a tensor that the codec does not take as it is.
        coding_s: median seconds of encoding and decoding.
        agreement: share of pictures with the class of the unsplit model.
        error: mean of ||y' - y|| / ||y|| over the outputs y of the unsplit model.
    """

    cut: int
    after: str
    raw_bytes: int
    sent_bytes: float
    coding_s: float
    agreement: float
    error: float

    @property
    def share(self) -> float:
        """Bytes as encoded to bytes of the payload."""
        return self.sent_bytes / self.raw_bytes if self.raw_bytes else 1.0


def coded_cuts(profile: Profile) -> dict[str, list[CodedCut]]:
    """Codec -> its rows, in the order of the cuts; empty for a profile without measurements on pictures."""
    codings = profile.codings or ()
    return {coding.codec: [_row(profile.table, coding, cut) for cut in sorted(coding.agreement)] for coding in codings}


def narrowing_cuts(table: CutTable, cuts: Sequence[int]) -> list[int]:
    """Those of the cuts at which less crosses than at any before: where else to cut, if not for time?"""
    narrowing: list[int] = []
    for cut in sorted(cuts):
        if not narrowing or table.cuts[cut].payload_bytes < table.cuts[narrowing[-1]].payload_bytes:
            narrowing.append(cut)
    return narrowing


def _row(table: CutTable, coding: Coding, cut: int) -> CodedCut:
    values = table.cuts[cut].values
    return CodedCut(
        cut=cut,
        after=table.nodes[cut - 1].name if cut else "input",
        raw_bytes=table.cuts[cut].payload_bytes,
        sent_bytes=sum(coding.value_bytes.get(value.name, value.payload_bytes) for value in values),
        coding_s=sum(coding.value_s.get(value.name, 0.0) for value in values),
        agreement=coding.agreement[cut],
        error=coding.error[cut],
    )
