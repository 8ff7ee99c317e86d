"""A progress bar for long simulations, on a terminal only."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from types import TracebackType

SHOW_AFTER_S = 1.0


class ProgressBar:
    """Appears on stderr after a second and is erased at the end."""

    def __init__(self, *, enabled: bool) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("simulating"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("simulating", total=1.0)
        self._enabled = enabled and console.is_terminal
        self._shown = False
        self._start_s = perf_counter()

    def update(self, share: float) -> None:
        """Show that this share of the work, 0 to 1, is done."""
        if not self._enabled:
            return
        if not self._shown and perf_counter() - self._start_s > SHOW_AFTER_S:
            self._shown = True
            self._progress.start()
        self._progress.update(self._task, completed=share)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._shown:
            self._progress.stop()
