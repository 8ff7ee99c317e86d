from __future__ import annotations

import pytest


def test_how_well_a_median_is_known():
    from bed.calibration import median_error

    # Quartiles 2, 3, 4: a standard deviation of 2 / 1.349, over the root of five, times 1.2533 for a median, of 3.
    assert median_error([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(1.2533 * 2.0 / 1.349 / 5**0.5 / 3.0)
    assert median_error([2.0] * 9) == 0.0


def test_a_noisy_machine_is_asked_more_often(make_bed):
    from bed.calibration import obtained_shares

    class Noisy:
        def __init__(self, *seconds):
            self.asked, self._seconds = 0, seconds

        def ask(self, _pieces):
            self.asked += 1
            return self._seconds[self.asked % len(self._seconds)]

    bed = make_bed(clock="cooperative")
    assert len(obtained_shares(bed, Noisy(0.1), 0.5, 1, 9)) == 9
    assert len(obtained_shares(bed, Noisy(0.1, 0.1, 0.13, 0.1, 0.12), 0.5, 1, 9)) == 54
