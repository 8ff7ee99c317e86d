"""Connects structlog with Hydra's job logging: readable lines on the terminal, JSON lines in the run's file.

`conf/hydra/job_logging/midcut.yaml` refers to the two formatters here. `configure` is called inside each task, because
a launcher may run the task in a worker process in which no other code of midcut has run before.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from midcut.errors import FileError, printable
from midcut.results.lines import LineFile

if TYPE_CHECKING:
    from structlog.typing import Processor

# Fields of an event that have several lines.
_TRACEBACKS = frozenset({"exception", "stack", "exc_info", "stack_info"})


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


def configure() -> None:
    """Make structlog send its events to the handlers of the standard library."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def console_formatter() -> structlog.stdlib.ProcessorFormatter:
    """A formatter for people: an aligned line per event, coloured on a terminal, numbers with four digits."""
    renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)
    return _make_formatter(
        lambda logger, name, event: renderer(
            logger, name, {k: v if k in _TRACEBACKS else shorten(v) for k, v in event.items()}
        )
    )


def json_formatter() -> structlog.stdlib.ProcessorFormatter:
    """A formatter that writes a JSON object per event."""
    return _make_formatter(structlog.processors.JSONRenderer())


class RunLogHandler(logging.Handler):
    """Appends whole lines to the run's log file, made at the first one. A full disk ends the log, not the run."""

    def __init__(self, filename: str) -> None:
        super().__init__()
        self._path = Path(filename)
        self._file: LineFile | None = None
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._failed:
            return
        try:
            if self._file is None:
                self._file = LineFile(self._path, append=True)
            self._file.write(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))
        except FileError as error:
            self._failed = True
            sys.stderr.write(f"midcut: warning: no more lines in the log: {error}\n")
        except Exception:  # noqa: BLE001 - as each handler of the standard library does
            self.handleError(record)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


def shorten(value: Any) -> Any:
    """Shorten a value for people: floats to four digits, mappings to `name=value` words, no control characters."""
    if isinstance(value, str):
        return printable(value, keep="")
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return " ".join(f"{shorten(name)}={shorten(inner)}" for name, inner in value.items())
    return value


def _make_formatter(renderer: Processor) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared_processors(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
