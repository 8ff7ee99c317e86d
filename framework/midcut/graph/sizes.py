"""The sizes of inputs that a captured model was asked for, beside those of its example."""

from __future__ import annotations

import threading
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from midcut.errors import MalformedError, OutOfMemoryError, is_exhausted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midcut.graph.partitioned import Partition
    from midcut.types import CutTable

Shapes: TypeAlias = tuple[tuple[int, ...], ...]

_log = structlog.get_logger(__name__)
_MOST: Final = 64
_NO_MEMORY_S: Final = 60.0


class SizedPartitions:
    """Makes the partitions for other sizes when they are first needed, and keeps the last 64. Threads may share it.

    Args:
        table: of the model; its `ranges` are the sizes that it takes.
        make: makes the partition for inputs of these shapes.
    """

    def __init__(self, table: CutTable, make: Callable[[Shapes], Partition]) -> None:
        self._table, self._make = table, make
        self._known: OrderedDict[Shapes, Partition | str] = OrderedDict()
        self._no_memory: dict[Shapes, tuple[float, str]] = {}  # until when it is not tried again, and what is said
        self._lock, self._making = threading.Lock(), threading.Lock()

    def find(self, shapes: Shapes) -> Partition | None:
        """The partition for inputs of these shapes; None while it has to be made.

        Raises:
            MalformedError: they are out of range, or the model was found not to take them.
        """
        self._check_ranges(shapes)
        with self._lock:
            found = self._known.get(shapes)
            if found is not None:
                self._known.move_to_end(shapes)
        if isinstance(found, str):
            raise MalformedError(found)
        return found

    def make(self, shapes: Shapes) -> Partition:
        """The partition for inputs of these shapes, which takes some runs of the model the first time.

        Raises:
            MalformedError: as for `find`.
            OutOfMemoryError: there is no memory for it now; it is tried again after a minute.
        """
        with self._making:  # one at a time: several would slow each other, and requests, down
            found = self.find(shapes)
            if found is not None:
                return found
            retry_at_s, reason = self._no_memory.get(shapes, (0.0, ""))
            if monotonic() < retry_at_s:
                raise OutOfMemoryError(reason)
            try:
                made: Partition | str = self._make(shapes)
                _log.info("size verified", model=self._table.model, inputs=_shapes_text(shapes))
            except Exception as error:  # noqa: BLE001 - the user's code and kernels may raise anything
                reason = " ".join(str(error).split())[:300]
                if is_exhausted(error):
                    reason = f"no memory for inputs of {_shapes_text(shapes)}: {reason}"
                    while len(self._no_memory) >= _MOST:
                        del self._no_memory[next(iter(self._no_memory))]
                    self._no_memory[shapes] = monotonic() + _NO_MEMORY_S, reason
                    raise OutOfMemoryError(reason) from None
                made = f"model {self._table.model!r} does not take inputs of {_shapes_text(shapes)}: {reason}"
            with self._lock:
                self._known[shapes] = made
                while len(self._known) > _MOST:
                    self._known.popitem(last=False)
        if isinstance(made, str):
            raise MalformedError(made)
        return made

    def _check_ranges(self, shapes: Shapes) -> None:
        table = self._table
        if len(shapes) != len(table.ranges):
            raise MalformedError(f"model {table.model!r} takes {len(table.ranges)} inputs, got {len(shapes)}")
        for spec, range_, shape in zip(table.cuts[0].values, table.ranges, shapes, strict=True):
            if not shape or not shape[0] >= 1 or not _is_inside(shape[1:], range_.smallest, range_.largest):
                raise MalformedError(
                    f"model {table.model!r}: input {spec.name!r} has shape {list(shape)}, it takes {range_.text}"
                )
        if len({shape[0] for shape in shapes}) > 1:
            raise MalformedError(f"model {table.model!r}: inputs of {_shapes_text(shapes)} have different batch sizes")


def _is_inside(sizes: Sequence[int], smallest: Sequence[int], largest: Sequence[int]) -> bool:
    return len(sizes) == len(largest) and all(
        low <= size <= high for low, size, high in zip(smallest, sizes, largest, strict=True)
    )


def _shapes_text(shapes: Shapes) -> str:
    return " and ".join(f"shape {list(shape)}" for shape in shapes)
