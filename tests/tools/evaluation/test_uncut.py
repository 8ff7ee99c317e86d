"""The picked cut against no cut, worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from evaluation.uncut.report import evaluation

if TYPE_CHECKING:
    from evaluation.rows import Row


def round_of(number: int, picked_s: float, edge_s: float, cloud_s: float, cut: int = 6) -> list[dict[str, Any]]:
    given = {"picked": (cut, picked_s), "edge": (22, edge_s), "cloud": (0, cloud_s)}
    labels = {"model": "alexnet", "clock_mhz": 600.0, "round": number}
    return [{**labels, "kind": kind, "cut": cut, "latency_s": seconds} for kind, (cut, seconds) in given.items()]


def test_the_ratio_is_to_the_better_of_both_in_the_same_round() -> None:
    rows: list[Row] = [
        *round_of(0, 0.10, 0.20, 0.40),
        *round_of(1, 0.12, 0.30, 0.25, cut=5),
        *round_of(2, 0.21, 0.30, 0.90),
    ]
    result = evaluation(rows, {})
    assert result.values == {"lost": 0, "alexnet_600_ratio": pytest.approx(0.5)}  # 0.5, 0.4, 0.7
    (row,) = result.tables[0].rows
    assert row == ["alexnet", 600.0, "5 (1), 6 (2)", *map(pytest.approx, (120.0, 300.0, 400.0, 0.5, 0.45, 0.6)), 3]


def test_a_round_with_a_lost_request_or_an_answer_from_the_edge_does_not_count() -> None:
    lost, fell_back = round_of(1, 0.1, 0.1, 0.1), round_of(2, 0.1, 0.1, 0.1)
    lost[0] = {key: value for key, value in lost[0].items() if key != "latency_s"} | {"lost": "timed out"}
    fell_back[2]["fallback"] = "the cloud was away"
    result = evaluation([*round_of(0, 0.2, 0.4, 0.5), *lost, *fell_back], {})
    assert result.values == {"lost": 1, "alexnet_600_ratio": pytest.approx(0.5)}
    assert evaluation(lost, {}).tables[0].rows == []
