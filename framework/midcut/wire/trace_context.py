"""The W3C trace context of a request, which is passed on: the HTTP headers `traceparent` and `tracestate`.

Whatever is not valid is ignored, as the recommendation asks (W3C Trace Context, sections 3.2 and 3.3).
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PARENT_HEADER: Final = "traceparent"
STATE_HEADER: Final = "tracestate"
# Of a later version further fields may follow, which are passed on.
_PARENT: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?")
_MEMBER: Final = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_MOST_MEMBERS: Final = 32
_LONGEST: Final = 512


class TraceContext(NamedTuple):
    """The headers of one request.

    Attributes:
        parent: `traceparent`, valid.
        state: `tracestate`, valid, or `""`.
    """

    parent: str
    state: str = ""


_CURRENT: Final[ContextVar[TraceContext | None]] = ContextVar("midcut_trace_context", default=None)


def read_trace_context(parents: Sequence[str], states: Sequence[str] = ()) -> TraceContext | None:
    """The context of a request's headers; None where there is none, several, or an invalid one.

    Args:
        parents: values of all headers `traceparent`.
        states: values of all headers `tracestate`, which are parts of one list; an invalid list is dropped.
    """
    if len(parents) != 1 or len(parents[0]) > _LONGEST:
        return None
    parent = parents[0].strip()
    found = _PARENT.fullmatch(parent)
    if found is None or (found[1] == "00" and found[2] is not None):
        return None
    members = [member for member in (part.strip(" \t") for part in ",".join(states).split(",")) if member]
    keys = {member.partition("=")[0] for member in members}
    valid = len(members) <= _MOST_MEMBERS and len(keys) == len(members) and all(map(_MEMBER.fullmatch, members))
    state = ",".join(members)
    return TraceContext(parent, state if valid and len(state) <= _LONGEST else "")


def pass_on(context: TraceContext) -> None:
    """Requests that the current task sends from now on have this context."""
    _CURRENT.set(context)


@contextmanager
def passing_on(context: TraceContext | None) -> Iterator[None]:
    """Requests that are sent within have this context."""
    token = _CURRENT.set(context)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_context() -> TraceContext | None:
    """The context to pass on; None where the request came with none."""
    return _CURRENT.get()


def trace_headers() -> str:
    """The lines of an HTTP header for a request to the next tier; `""` where there is nothing to pass on."""
    context = _CURRENT.get()
    if context is None:
        return ""
    state = f"{STATE_HEADER}: {context.state}\r\n" if context.state else ""
    return f"{PARENT_HEADER}: {context.parent}\r\n{state}"
