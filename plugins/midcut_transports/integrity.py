"""Whether an answer shows that the cloud received the request as it was sent.

A cloud that checks requests says so in its list of models, and by a header of its answers. An older cloud says neither,
and its answers are taken as they are.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from midcut.wire import oip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midcut_transports.connection import Answer

# The checksum of a larger request is computed while it is written, part by part: each is in the processor's cache then,
# and the cloud is busy reading.
_EARLY_BYTES: Final = 256 * 1024
_RECEIVED: Final = oip.RECEIVED_HEADER.lower().encode()
_SERVER_FAULTS: Final = frozenset({501, 505})


class Integrity:
    """The checksum of one request.

    Args:
        model: the name in the path; empty where the path has none.
        header_length: bytes of the JSON header; empty where all of the body is JSON.
        pieces, size_bytes: the body.
        expected: this cloud is known to check requests.

    Attributes:
        header: the HTTP header to send, with its line end.
        reported: whether an answer had a checksum; None before there is an answer.
    """

    def __init__(
        self, model: str, header_length: str, pieces: Sequence[memoryview], size_bytes: int, *, expected: bool
    ) -> None:
        self._checksum = oip.RequestChecksum(model, header_length)
        self._expected = expected
        self._left: Iterator[memoryview] | None = None
        self.reported: bool | None = None
        if expected and size_bytes > _EARLY_BYTES:
            self._left = _parts(pieces)
            self._text = oip.DEFERRED
        else:
            for piece in pieces:
                self._checksum.add(piece)
            self._text = self._checksum.text
        self.header = f"{oip.CHECKSUM_HEADER}: {self._text}\r\n"

    def advance(self) -> None:
        """Add the next part of the body to the checksum, if there is one."""
        if self._left is not None and (part := next(self._left, None)) is not None:
            self._checksum.add(part)

    def text(self) -> str:
        """The checksum, once what is left of the body is added."""
        if self._left is not None:
            for part in self._left:
                self._checksum.add(part)
            self._text, self._left = self._checksum.text, None
        return self._text

    def doubt(self, answer: Answer, *, last: bool = False) -> str:
        """Why the request, or its answer, seems to have been damaged on the way; `""` if it does not.

        Args:
            last: the request was sent twice. A refusal before the body was read, which has no checksum, is believed
                then: most are what they seem to be.
        """
        received = answer.header(_RECEIVED)
        self.reported = received is not None
        if received is not None:
            return "" if received == self.text() else "the request was damaged on the way: its checksum differs"
        if not self._expected:
            return ""
        if answer.status == HTTPStatus.OK:
            return "the answer was damaged on the way: it lacks the request's checksum"
        refused = HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return (
            "the request may have been damaged on the way"
            if not last and (refused or answer.status in _SERVER_FAULTS)
            else ""
        )


def _parts(pieces: Sequence[memoryview]) -> Iterator[memoryview]:
    """The pieces in parts that fit into a processor's cache."""
    return (piece[at : at + _EARLY_BYTES] for piece in pieces for at in range(0, piece.nbytes, _EARLY_BYTES))
