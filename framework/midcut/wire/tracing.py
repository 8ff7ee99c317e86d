"""Spans of OpenTelemetry, where its SDK is in use; without it nothing of it is imported and nothing is recorded.

The SDK is in use where OpenTelemetry's own environment variables configure an exporter (`start_tracing`), or where a
program that midcut runs in has set it up.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import structlog

from midcut.wire.trace_context import (
    PARENT_HEADER,
    STATE_HEADER,
    TraceContext,
    current_context,
    passing_on,
    read_trace_context,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

_log = structlog.get_logger("midcut.tracing")
_SDK: Final = "opentelemetry.sdk.trace"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SERVICE: Final = "OTEL_SERVICE_NAME"


class Span(Protocol):
    """What a span is used for here."""

    def set_attribute(self, key: str, value: str | bool | float) -> object: ...


class _NoSpan:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Record nothing."""

    def set_attribute(self, key: str, value: str | bool | float) -> None:
        """Record nothing."""


_NO_SPAN: Final = _NoSpan()


def start_tracing(service: str) -> Callable[[], None]:
    """Export spans over OTLP where OpenTelemetry's environment variables name an endpoint.

    Args:
        service: the service's name where `OTEL_SERVICE_NAME` does not give one.

    Returns:
        what sends the spans that are left, to be called at the end.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return lambda: None
    try:
        from opentelemetry import trace  # noqa: PLC0415 - only where it is asked for
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        needs = "pip install 'midcut[otel]'"
        _log.warning("no spans are exported", reason=f"{error.name} is not installed", better=needs)
        return lambda: None
    provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get(_SERVICE, service)}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def span(
    name: str, kind: str = "INTERNAL", parent: TraceContext | None = None, **attributes: str | bool | float
) -> AbstractContextManager[Span]:
    """Record what happens within as a span below the current one; requests that are sent within pass it on.

    Args:
        kind: of the span, in OpenTelemetry's words: `SERVER`, `CLIENT`, `INTERNAL`.
        parent: the span of the client, where this begins with a request.
        attributes: of the span, under `midcut.`.
    """
    return _recorded(name, kind, parent, attributes) if _SDK in sys.modules else _NO_SPAN


@contextmanager
def _recorded(
    name: str, kind: str, parent: TraceContext | None, attributes: Mapping[str, str | bool | float]
) -> Iterator[Span]:
    from opentelemetry import trace  # noqa: PLC0415 - the SDK is loaded, so that this is, too

    tracer = trace.get_tracer("midcut")
    named = {f"midcut.{key}": value for key, value in attributes.items()}
    with (
        tracer.start_as_current_span(name, _otel_context(parent), trace.SpanKind[kind], named) as recorded,
        passing_on(_context_of_span() or current_context()),
    ):
        yield recorded


def _otel_context(context: TraceContext | None) -> Any:
    """A client's span as a parent; None for OpenTelemetry's own current one."""
    if context is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    return TraceContextTextMapPropagator().extract({PARENT_HEADER: context.parent, STATE_HEADER: context.state})


def _context_of_span() -> TraceContext | None:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    parents = [headers[PARENT_HEADER]] if PARENT_HEADER in headers else []
    return read_trace_context(parents, [headers.get(STATE_HEADER, "")])
