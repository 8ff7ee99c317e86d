"""The two formats of requests and replies: the Open Inference Protocol, and the paper's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import msgspec

from midcut import wire
from midcut.errors import CloudRefusedError, MalformedError
from midcut.types import BodyArrival, Tensor, TierTimes
from midcut.wire import oip, oip_read, route
from midcut.wire.body import Body
from midcut.wire.oip_tensors import encode_infer, reply_values

if TYPE_CHECKING:
    from midcut.protocols import Codec
    from midcut.types import TailRequest
    from midcut_transports.connection import Answer

_LONGEST_REASON = 300
CHECKSUM = oip.CHECKSUM_HEADER.lower().encode()
HEADER_LENGTH = oip.HEADER_LENGTH.lower().encode()
"""Names of an answer's headers, see `Answer.header`."""


class EncodedRequest(msgspec.Struct, frozen=True):
    """A request ready to be written.

    Attributes:
        path: percent-encoded.
        headers: the HTTP headers of the body as text, each with its line end.
        pieces, size_bytes: the body.
        model, header_length: what the checksum of the request covers beside the body; empty where there is none.
    """

    path: str
    headers: str
    pieces: Sequence[memoryview]
    size_bytes: int
    model: str = ""
    header_length: str = ""


class DecodedReply(msgspec.Struct, frozen=True):
    """The content of a reply; times in seconds by the cloud's clock."""

    values: Sequence[Tensor | int]
    compute_s: float
    server_s: float
    beyond: tuple[TierTimes, ...] = ()
    fallback: str = ""
    arrival: BodyArrival | None = None
    stand_in: bool = False


class WireFormat(Protocol):
    """Encodes a request and decodes its reply. Both may run on a thread beside the event loop."""

    def encode(self, request: TailRequest, timeout_s: float) -> EncodedRequest:
        """Encode a request and its timeout. Raises MalformedError where the format cannot express the request."""
        ...

    def decode(self, request: TailRequest, answer: Answer) -> DecodedReply:
        """Decode and check the answer to a request. Raises CloudRefusedError where it is not a valid reply."""
        ...


class OpenInference:
    """The Open Inference Protocol v2, tensors as binary.

    Args:
        codec: encodes the tensors; None sends their own bytes.
        reply_codec: the codec to ask for in the reply; None asks for the tensors' own bytes.
        plain: the server is another vendor's: it runs whole models only and has no fingerprint to compare.
    """

    def __init__(self, codec: Codec | None = None, *, plain: bool = False, reply_codec: Codec | None = None) -> None:
        self._codec, self._reply_codec = codec, reply_codec
        self._plain = plain

    def encode(self, request: TailRequest, timeout_s: float) -> EncodedRequest:
        if self._plain and (request.cut != 0 or request.onward is not None):
            raise MalformedError(f"a server that is not midcut's runs whole models, cut 0, not cut {request.cut}")
        asked = oip.RAW if self._reply_codec is None else self._reply_codec.name
        message = encode_infer(request, self._codec, timeout_s, plain=self._plain, reply_codec=asked)
        length = str(len(message.header))
        headers = f"Content-Type: {oip.BINARY_TYPE}\r\n{oip.HEADER_LENGTH}: {length}\r\n"
        pieces = (memoryview(message.header), *message.pieces)
        return EncodedRequest(_infer_path(request.model), headers, pieces, message.size_bytes, request.model, length)

    def decode(self, request: TailRequest, answer: Answer) -> DecodedReply:
        try:
            reply = oip_read.read_reply(Body(answer.chunks), answer.header(HEADER_LENGTH))
            values = reply_values(reply, self._reply_codec)
            told = reply.parameters
            beyond = () if told.route_us is None else route.read_times(told.route_us)
        except MalformedError as error:
            raise CloudRefusedError(f"the cloud's reply is invalid: {error}") from None
        _check_id(reply.id, request)
        if not self._plain and reply.model_version != request.fingerprint:
            raise CloudRefusedError(
                f"the cloud answered with model {reply.model_version[:80]!r}, not {request.fingerprint!r}"
            )
        if not self._plain and _checksum(reply) != told.crc32:
            raise CloudRefusedError("the reply's tensors were damaged on the way: the checksum differs")
        compute_s = (told.compute_us or 0.0) / 1e6
        server_s = max((told.server_us or 0.0) / 1e6, compute_s)
        arrival = (
            BodyArrival(told.arrival_bytes, told.arrival_us / 1e6) if told.arrival_bytes and told.arrival_us else None
        )
        fallback = str(told.fallback or "")[:_LONGEST_REASON]
        return DecodedReply(values, compute_s, server_s, beyond, fallback, arrival, told.stand_in is True)


class Paper:
    """The paper's JSON with base64 (Luger, Aral, Brandic 2023, section 2.4)."""

    def encode(self, request: TailRequest, timeout_s: float) -> EncodedRequest:  # noqa: ARG002 - the paper's message has no timeout
        if request.onward is not None:
            raise MalformedError("the paper's message knows no relay")
        body = wire.encode_request(request)
        return EncodedRequest(wire.INFER_PATH, f"Content-Type: {wire.JSON_TYPE}\r\n", (memoryview(body),), len(body))

    def decode(self, request: TailRequest, answer: Answer) -> DecodedReply:
        checksum = answer.header(CHECKSUM)
        if checksum is not None and checksum != oip.checksum(answer.chunks):
            raise CloudRefusedError("the reply was damaged on the way: the checksum differs")
        try:
            reply = wire.read_reply(b"".join(answer.chunks))
            values = wire.decode_values(reply.values)
        except MalformedError as error:
            raise CloudRefusedError(f"the cloud's reply is invalid: {error}") from None
        _check_id(reply.request_id, request)
        return DecodedReply(values, reply.compute_s, reply.server_s)


@lru_cache(maxsize=256)
def _infer_path(model: str) -> str:
    return oip.infer_path(quote(model, safe=""))


def _check_id(reply_id: str, request: TailRequest) -> None:
    if reply_id != request.request_id:
        raise CloudRefusedError(f"the cloud answered request {reply_id[:80]!r}, not {request.request_id!r}")


def _checksum(reply: oip_read.Reply) -> str:
    return oip.checksum(piece for tensor in reply.tensors for piece in tensor.pieces or ())
