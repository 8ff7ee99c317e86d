"""JSON from strangers, into strict types."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from midcut.errors import MalformedError

_Message = TypeVar("_Message")
# 256 inputs and as many outputs with all their parameters come to 10,000. Each string in the JSON becomes an object,
# and while these are made no other thread runs: 17 MB of parameters took 1.3 s and 170 MB.
_MOST_STRINGS: Final = 16 * 1024


def parse(
    decoder: msgspec.json.Decoder[_Message],
    text: bytes | bytearray | memoryview,
    is_no: str,
    most_strings: int = _MOST_STRINGS,
) -> _Message:
    """Decode a whole JSON text.

    Args:
        is_no: how the error begins, `the body is no ...`.
        most_strings: of a text with more of them nothing is decoded.

    Raises:
        MalformedError: it is not exactly what the decoder takes.
    """
    if len(text) > most_strings:
        quotes = (bytes(text) if isinstance(text, memoryview) else text).count(b'"')
        if quotes > 2 * most_strings:
            raise MalformedError(f"{is_no}: it has over {most_strings} strings")
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"{is_no}: {error}") from None
