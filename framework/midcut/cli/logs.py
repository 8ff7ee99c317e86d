"""structlog through Hydra's job logging: for people on a terminal, JSON lines in the run's file.

`conf/hydra/job_logging/midcut.yaml` names the two formatter factories; `configure` is called inside
each task, because a launcher's worker process runs the task and nothing before it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


def configure() -> None:
    """Send structlog's events through the standard library's handlers."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def console_formatter() -> structlog.stdlib.ProcessorFormatter:
    """One aligned line an event, coloured on a terminal, numbers to four digits."""
    renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)
    return _formatter(lambda logger, name, event: renderer(logger, name, {k: short(v) for k, v in event.items()}))


def json_formatter() -> structlog.stdlib.ProcessorFormatter:
    """One JSON object a line."""
    return _formatter(structlog.processors.JSONRenderer())


def short(value: Any) -> Any:
    """Round what a person reads: floats to four digits, mappings as `name=value` words."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={short(inner)}" for name, inner in value.items())
    return value


def _formatter(renderer: Processor) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
