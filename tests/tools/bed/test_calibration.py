from __future__ import annotations

import pytest


def test_how_well_a_median_is_known():
    from bed.calibration import median_error

    # Quartiles 2, 3, 4: a standard deviation of 2 / 1.349, over the root of five, times 1.2533 for a median, of 3.
    assert median_error([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(1.2533 * 2.0 / 1.349 / 5**0.5 / 3.0)
    assert median_error([2.0] * 9) == 0.0


def test_turns_are_taken_until_enough_is_known(make_bed):
    from bed.calibration import obtained_shares

    class Machine:
        def ask(self, _pieces):
            return 0.1

    bed = make_bed(clock="cooperative")
    assert len(obtained_shares(bed, Machine(), 0.5, 1, 9, lambda _: True)) == 9
    assert len(obtained_shares(bed, Machine(), 0.5, 1, 9, lambda shares: len(shares) == 20)) == 20
    assert len(obtained_shares(bed, Machine(), 0.5, 1, 9, lambda _: False)) == 15 * 9
