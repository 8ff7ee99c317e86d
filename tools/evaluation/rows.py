"""What is measured, written down the moment it is known: whoever stops an experiment keeps what it has."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from evaluation.client import Answer, AnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from evaluation.site import Site

ROWS = "rows.jsonl"


class Rows:
    """Rows of an experiment, a JSON line each.

    Args:
        folder: where `rows.jsonl` goes; it is made, and an earlier file is replaced.

    Attributes:
        all: what was added, in order.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / ROWS).open("w", encoding="utf-8", buffering=1)
        self.all: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def add(self, **row: Any) -> dict[str, Any]:
        """Write a row; returns it."""
        self._file.write(json.dumps(row) + "\n")
        self.all.append(row)
        return row

    def ask(self, site: Site, cut: int | None = None, **about: Any) -> Answer | None:
        """One request to the edge, written down with what is said about it; None where it was lost."""
        began_s = time.time()
        try:
            answer = site.infer(cut)
        except AnswerError as error:
            self.add(**about, asked=cut, began_s=began_s, lost=str(error))
            return None
        self.add(**about, asked=cut, **measured(answer))
        return answer


def measured(answer: Answer) -> dict[str, Any]:
    """An answer as a row: what was measured and what had been predicted."""
    return {
        "cut": answer.cut,
        "latency_s": answer.latency_s,
        "cost_usd": answer.cost_usd,
        "edge_s": answer.edge_s,
        "link_s": answer.link_s,
        "cloud_s": answer.cloud_s,
        "predicted_s": answer.predicted.get("latency_s"),
        "predicted_link_s": answer.predicted.get("link_s"),
        "predicted_edge_s": answer.predicted.get("edge_s"),
        "finished_by": answer.finished_by,
        "fallback": answer.fallback,
        "began_s": answer.began_s,
        "ended_s": answer.ended_s,
    }


def is_measured(row: Mapping[str, Any]) -> bool:
    """Whether a row says what its forced cut takes: it was answered, and not by the edge in the cloud's place."""
    return row["kind"] == "forced" and "lost" not in row and not row.get("fallback")


def say(text: str) -> None:
    """Progress, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
