"""Figure 6's ratios and what a pause costs, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation.figure6.measure import figure6_conditions
from evaluation.figure6.report import evaluation as figure6_evaluation
from evaluation.slow_start.measure import cuts_by_payload
from evaluation.slow_start.report import evaluation as slow_start_evaluation

from midcut.types import Cut, CutTable, ValueSpec


def run(sample: int, cut: int, latency_s: float, cost_usd: float) -> dict[str, object]:
    return {"kind": "forced", "sample": sample, "asked": cut, "latency_s": latency_s, "cost_usd": cost_usd}


def picks(sample: int, fast: int, half: int, cheap: int) -> dict[str, object]:
    chosen = {"0": fast, "0.5": half, "1": cheap}
    return {"kind": "picks", "sample": sample, "picks": {"default": chosen, "paper": chosen}}


ROWS = [
    picks(0, 9, 5, 1),
    *(run(0, 9, s, 6.0) for s in (0.1, 0.5, 0.1)),  # the median of three runs
    *(run(0, 5, s, 2.0) for s in (0.3, 0.3, 0.3)),
    *(run(0, 1, s, 1.0) for s in (0.8, 0.8, 0.7)),
    picks(1, 9, 5, 1),
    run(1, 9, 0.3, 2.0),
    run(1, 5, 0.3, 2.0),
    run(1, 1, 1.2, 1.0),
    picks(2, 9, 5, 1),
    run(2, 9, 9.0, 9.0),  # stopped here: not measured in full, so left out
]


def test_ratios_are_of_means_over_whole_samples() -> None:
    away = run(0, 5, 99.0, 99.0) | {"fallback": "the cloud was away"}
    result = figure6_evaluation([*ROWS, away, away, away, away], {}, 20)
    # w = 0.5: latency (0.3 + 0.3) / 2, cost 2. Latency-optimal: (0.1 + 0.3) / 2, cost 4. Cost-optimal: 1.0, cost 1.
    assert result.values["default_cost_usd_against_latency_optimal_percent"] == pytest.approx(-50.0)
    assert result.values["default_cost_usd_against_cost_optimal_percent"] == pytest.approx(100.0)
    assert result.values["default_latency_s_against_cost_optimal_percent"] == pytest.approx(-70.0)
    assert result.values["paper_latency_s_against_latency_optimal_percent"] == pytest.approx(50.0)
    assert [row[6] for row in result.tables[0].rows] == [2] * 8
    assert result.tables[0].rows[0][2] == -65.53


def test_a_run_stopped_before_anything_was_whole_still_makes_an_evaluation() -> None:
    result = figure6_evaluation([picks(0, 9, 5, 1), run(0, 9, 0.1, 1.0)], {}, 20)
    assert np.isnan(result.values["default_cost_usd_against_cost_optimal_percent"] or np.nan)


def test_the_samples_are_those_of_the_simulated_figure() -> None:
    samples = figure6_conditions()
    assert len(samples) == 20
    assert all(sample.ping_ms == 120.0 for sample in samples)
    assert all(600.0 <= sample.clock_mhz <= 1500.0 for sample in samples)
    assert all(sample.bandwidth_kbps % 1000.0 == 0.0 for sample in samples)
    assert len({sample.clock_mhz for sample in samples}) > 10


def test_errors_after_a_pause_and_at_once() -> None:
    link = "10 Mbit/s, 50 ms"
    rows = [
        {"kind": "predicted", "link": link, "asked": 5, "payload_bytes": 50_000, "always": 0.18, "never": 0.09},
        *(
            {"kind": "paused", "link": link, "asked": 5, "link_s": s, "predicted_link_s": 0.21}
            for s in (0.19, 0.20, 0.90)
        ),
        *({"kind": "warm", "link": link, "asked": 5, "link_s": s} for s in (0.10, 0.10)),
        {"kind": "warm", "link": link, "asked": 5, "lost": "timed out"},
    ]
    result = slow_start_evaluation(rows, {})
    assert result.values["median_error_paused_always"] == pytest.approx(0.1)  # 0.18 against 0.20
    assert result.values["median_error_paused_never"] == pytest.approx(0.55)
    assert result.values["median_error_warm_never"] == pytest.approx(0.1)
    assert result.values["median_error_paused_live"] == pytest.approx(0.05)
    assert result.values["lost"] == 1


def test_cuts_differ_in_payload() -> None:
    def cut(index: int, numbers: int) -> Cut:
        return Cut(index, index, ends_module=True, values=(ValueSpec("x", "float32", (1, numbers)),))

    sizes = [150_000, 40_000, 10_000, 10_000, 30_000, 1_000, 10_000]  # numbers of 4 bytes
    table = CutTable("m", "fx", (), tuple(cut(index, size) for index, size in enumerate(sizes)), "g", "w")
    # 40 kB (its first cut) and 120 and 160 kB; 600 kB and 4 kB are out of range, the last cut sends nothing.
    assert cuts_by_payload(table, set(range(7))) == [2, 4, 1]
    assert cuts_by_payload(table, {1, 3}) == [3, 1]
