"""Verdicts on published numbers, on both sides of every limit."""

from __future__ import annotations

import pytest

from midcut.profiles import find_fit
from midcut.reporting.verdicts import Verdict, has_drawn_field, judge_claim, reproduction_rows
from midcut.results.simulation import Claim, Interval


def claim(published, simulated, population=None):
    return Claim("Figure 6", "cost", "cost_usd", "algorithm1", 0.5, "cost_optimal", published, simulated, population)


FAR = Interval(mean=50.0, p5=45.0, p95=55.0)
WIDE = Interval(mean=50.0, p5=30.0, p95=60.0)
NARROW = Interval(mean=41.0, p5=40.9, p95=41.1)


@pytest.mark.parametrize(
    ("published", "simulated", "population", "random", "verdict"),
    [
        (40.0, 41.5, WIDE, True, Verdict.reproduced),  # 1.5 points off, inside 30..60
        (40.0, 41.51, WIDE, True, Verdict.other_seed),
        (40.0, 41.5, FAR, True, Verdict.one_seed),  # outside 45..55, 10 points from their mean
        (40.0, 41.5, NARROW, True, Verdict.reproduced),  # outside 40.9..41.1, but 1 point from their mean
        (40.0, 44.0, NARROW, True, Verdict.other_seed),
        (40.0, 44.0, FAR, True, Verdict.missed),
        (40.0, 40.0, None, True, Verdict.one_seed),  # no other seed was tried
        (40.0, 40.0, None, False, Verdict.reproduced),  # nothing random: there is only this
        (40.0, 42.0, None, False, Verdict.missed),
        (40.0, None, None, True, Verdict.missed),  # divided by 0
    ],
)
def test_judge(published, simulated, population, random, verdict):
    assert judge_claim(claim(published, simulated, population), random=random) is verdict


def test_random_is_what_a_seed_changes():
    assert has_drawn_field({"kind": "drawn", "clock_mhz": {"kind": "normal"}, "ping_ms": {"kind": "constant"}})
    assert not has_drawn_field({"kind": "drawn", "clock_mhz": {"kind": "values"}, "ping_ms": {"kind": "constant"}})
    assert not has_drawn_field({"kind": "trace", "path": "a.csv"})


def test_rows_stand_by_figure_and_keep_their_notes(simulation):
    first = simulation(
        title="other", claims=(claim(1.0, 1.0), Claim("section 4.2", "x", "cost_usd", "a", 0.5, "b", 9.0, 1.0))
    )
    second = simulation(
        title="Figure 5", claims=(Claim("Figure 5", "y", "cost_usd", "a", 0.5, "b", 2.0, 1.0, None, "why"),)
    )
    rows = reproduction_rows({"a": first, "b": second}, {})
    assert [(row.where, row.difference, row.note) for row in rows] == [
        ("Figure 5", -1.0, "why"),
        ("Figure 6", 0.0, ""),
        ("section 4.2", -8.0, ""),
    ]


def test_a_curve_without_numbers_is_compared_by_shape(simulation):
    rows = reproduction_rows({"a": simulation(title="Figure 7: every weight", claims=())}, {})
    assert [row.verdict for row in rows] == [Verdict.shape, Verdict.shape]
    # Means at w = 0, 0.5, 1: latency 0.125, 0.275, 0.425 s; cost 8, 5, 2 microdollars.
    assert rows[0].what == "Algorithm 1: latency rises and cost falls with w, 3 weights"
    assert rows[0].note == "w 0 to 1: latency +240.00 %, cost −75.00 %, in 2 steps"
    assert rows[0].published is rows[0].difference is None


def test_a_sweep_is_told_from_a_run(simulation):
    (row, _) = reproduction_rows({"a": simulation(title="Figure 7", claims=(), fronts=())}, {})
    assert row.what.endswith("with w, 3 weights, one job a weight")


def test_a_curve_of_another_shape_is_not_reproduced(simulation):
    upside_down = simulation(weights=(1.0, 0.5, 0.0), title="Figure 7", claims=())
    turned = [
        one if one.w is None else type(one)(**{f: getattr(one, f) for f in one.__struct_fields__} | {"w": 1 - one.w})
        for one in upside_down.series
    ]
    rows = reproduction_rows({"a": simulation(title="Figure 7", claims=(), series=tuple(turned))}, {})
    assert {row.verdict for row in rows} == {Verdict.missed}


def test_a_run_of_ones_own_is_not_held_against_the_paper(simulation):
    assert reproduction_rows({"a": simulation(title="my network", claims=())}, {}) == []


def test_the_fit_is_figure_4():
    (row,) = reproduction_rows({}, {"fit": find_fit("pi4")})
    assert (row.where, row.verdict) == ("Figure 4", Verdict.shape)
    assert "CS^-2.38" in row.note
    assert "modelled, not measured" in row.note
