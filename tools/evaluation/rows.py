"""What an experiment measures, written down the moment it is known: whoever stops it keeps what it has."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from evaluation.client import Answer, AnswerError
from midcut.results.evaluation import Evaluation, write_evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from evaluation.site import Site

Row: TypeAlias = "Mapping[str, Any]"


class Rows:
    """Rows of an experiment, a JSON object a line. Leaving the block writes `evaluation.json`, also after an error.

    Args:
        path: the file of rows; its folder is made.
        evaluate: makes the evaluation out of all rows and `bed`; None where they are too few for one.
        resume: add to the rows of an earlier run; else they are removed.

    Attributes:
        all: the rows, in order.
        bed: what the evaluation reports of the bed.
    """

    def __init__(
        self,
        path: Path,
        evaluate: Callable[[Sequence[Row], dict[str, Any]], Evaluation | None],
        *,
        resume: bool = False,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines(keepends=True) if resume and path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]  # a killed run may have left half a line
        path.write_text("".join(whole))
        self._file = path.open("a", buffering=1)
        self._folder = path.parent
        self._evaluate = evaluate
        self.all: list[dict[str, Any]] = [json.loads(line) for line in whole]
        self.bed: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.write_evaluation()

    def write_evaluation(self) -> None:
        """Write what the rows so far show; nothing where there are none."""
        evaluation = self._evaluate(self.all, self.bed) if self.all else None
        if evaluation is not None:
            write_evaluation(self._folder, evaluation)

    def add(self, **row: Any) -> None:
        """Write a row."""
        self._file.write(json.dumps(row) + "\n")
        self.all.append(row)

    def ask(self, site: Site, cut: int | None = None, **labels: Any) -> Answer | None:
        """Send one request to the edge and write it down with its labels; None where it was lost."""
        began_s = time.time()
        try:
            answer = site.infer(cut)
        except AnswerError as error:
            self.add(**labels, asked=cut, began_s=began_s, lost=str(error))
            return None
        fields = msgspec.structs.asdict(answer)
        predicted = fields.pop("predicted")
        parts = {"predicted_s": "latency_s", "predicted_link_s": "link_s", "predicted_edge_s": "edge_s"}
        self.add(**labels, asked=cut, **fields, **{name: predicted.get(part) for name, part in parts.items()})
        return answer


def is_measured(row: Row) -> bool:
    """Whether a row measures its forced cut: it was answered, and not by the edge in the cloud's place."""
    return row["kind"] == "forced" and "lost" not in row and not row.get("fallback")


def count_lost(rows: Sequence[Row]) -> int:
    """How many requests were lost."""
    return sum("lost" in row for row in rows)


def print_progress(text: str) -> None:
    """Print a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
