"""Equations 1 to 3 against arithmetic written out."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

from midcut.errors import ConfigError, FileError, ForecastError
from midcut.profiles import Fit, Law, ModelLaw, Normalisation, find_profile, write_fit
from midcut.testing import LatencyPredictorSuite, chain_placements
from midcut.types import Observation, Placements
from midcut_predictors.link import Eq3
from midcut_predictors.paper import CloudLinear, PowerLaw


def placements_of(payload_bytes, *, request=0.0, reply=0.0, model="alexnet") -> Placements:
    count = len(payload_bytes)
    on_edge = np.arange(count) == count - 1
    return Placements(
        model=model,
        cut=np.arange(count),
        layer=np.arange(count),
        payload_bytes=np.array(payload_bytes, dtype=float),
        request_bytes=np.where(on_edge, 0.0, request),
        reply_bytes=np.where(on_edge, 0.0, reply),
        on_edge=on_edge,
        nodes=count - 1,
        layers=count - 1,
    )


FOUR = placements_of([602_112, 186_624, 36_864, 4_000])


def test_eq1_and_eq2_by_hand():
    # a = 2^20, b = -2 at CS = 1024 = 2^10: slope_norm = 2^20 / 2^20 = 1, denormalised: up_b = 0.25 s a layer.
    # At CS = 2048: slope_norm = 2^20 / 2^22 = 0.25: 0.25 * (0.25 - 0.0625) + 0.0625 = 0.046875 + 0.0625 = 0.109375.
    edge = PowerLaw(FOUR, a=2.0**20, b=-2.0, upper=0.25, lower=0.0625)
    assert edge.seconds(Observation(clock_mhz=1024.0)).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert edge.seconds(Observation(clock_mhz=2048.0)).tolist() == [0.0, 0.109375, 0.21875, 0.328125]


def test_eq3_by_hand():
    # BW = 8000 kbit/s, PL = 30 ms; PL / 2000 = 0.015 s.
    # 602112 * 8 / 8e6 = 0.602112; 186624 -> 0.186624; 36864 -> 0.036864; 4000 -> 0.004, the output shipped.
    seconds = Eq3(FOUR).seconds(Observation(bandwidth_kbps=8000.0, ping_ms=30.0))
    assert seconds.tolist() == [0.602112 + 0.015, 0.186624 + 0.015, 0.036864 + 0.015, 0.004 + 0.015]


def test_eq3_without_paying_for_all_edge():
    seconds = Eq3(FOUR, all_edge_pays_link=False).seconds(Observation(bandwidth_kbps=8000.0, ping_ms=30.0))
    assert seconds.tolist() == [0.602112 + 0.015, 0.186624 + 0.015, 0.036864 + 0.015, 0.0]


def test_cloud_is_linear_in_the_layers_left():
    # 0.125 s a layer, three layers.
    assert CloudLinear(FOUR, slope_s=0.125).seconds(Observation()).tolist() == [0.375, 0.25, 0.125, 0.0]


def test_cloud_slope_from_the_shipped_profile():
    profile = find_profile("cloud", "cloud", "alexnet")
    seconds = CloudLinear(FOUR).seconds(Observation())
    # 21 modules; three layers are left at cut 0 of these placements.
    assert profile.table.layers == 21
    assert seconds[0] == pytest.approx(profile.runs[0].whole_s / 21 * 3, rel=1e-15)


def test_shipped_fit_stands_in_the_papers_range():
    edge = PowerLaw(FOUR)
    # b of the paper's literal normalisation is between -2.7 and -2.2 for a Pi 4 (it should be near -1:
    # min-max slopes must reach 0 at the top clock, a power law cannot).
    assert -2.7 < edge._b < -2.2
    whole = find_profile("pi4", "edge", "alexnet")
    slope = {run.clock_mhz: run.whole_s / 21 for run in whole.runs}
    for clock in (600.0, 900.0):
        predicted = edge.seconds(Observation(clock_mhz=clock))[1]
        assert predicted == pytest.approx(slope[clock], rel=0.12)
    assert edge.seconds(Observation(clock_mhz=1500.0))[1] > slope[1500.0], "it over-predicts at the top clock"


def test_loglog_is_closer():
    whole = find_profile("pi4", "edge", "vgg16")
    edge = PowerLaw(placements_of([4.0, 3.0], model="vgg16"), normalisation="loglog")
    for run in whole.runs:
        assert edge.seconds(Observation(clock_mhz=run.clock_mhz))[1] == pytest.approx(run.whole_s / 39, rel=0.02)


@pytest.mark.parametrize("normalisation", list(Normalisation))
def test_a_fit_file_is_used(tmp_path, normalisation):
    law = Law(models={"alexnet": ModelLaw(2.0**20, -2.0, 0.25, 0.0625)}, r2=1.0, mean_error=0.0, max_error=0.0)
    laws = {normalisation: law}
    write_fit(
        Fit(device="d", clock_min_mhz=600, clock_max_mhz=1500, seed=0, fitted=6, validated=4, modelled=True, laws=laws),
        tmp_path / "fit.json",
    )
    edge = PowerLaw(FOUR, fit=str(tmp_path / "fit.json"), normalisation=normalisation.value)
    assert edge.seconds(Observation(clock_mhz=1024.0)).tolist() == [0.0, 0.25, 0.5, 0.75]
    other = "max" if normalisation is Normalisation.minmax else "minmax"
    with pytest.raises(ConfigError, match=f"has no law '{other}'; it has: {normalisation.value}"):
        PowerLaw(FOUR, fit=str(tmp_path / "fit.json"), normalisation=other)


def test_outside_the_fitted_range_is_said_once(caplog):
    edge = PowerLaw(FOUR)
    with caplog.at_level(logging.WARNING):
        edge.seconds(Observation(clock_mhz=1000.0))
        assert not caplog.records
        for _ in range(3):
            assert (edge.seconds(Observation(clock_mhz=np.array([900.0, 1800.0]))) >= 0).all()
    assert [record.getMessage() for record in caplog.records] == [
        "clock 1800 MHz is outside the range, 600 to 1500 MHz, of fit 'pi4': the power law extrapolates"
    ]


def test_arrays_of_observations():
    clock_mhz = np.linspace(600, 1500, 12).reshape(3, 4)
    edge, link = PowerLaw(FOUR), Eq3(FOUR)
    many = Observation(clock_mhz=clock_mhz, bandwidth_kbps=clock_mhz * 8, ping_ms=40.0)
    assert edge.seconds(many).shape == link.seconds(many).shape == (3, 4, 4)
    single = Observation(clock_mhz=clock_mhz[1, 2], bandwidth_kbps=clock_mhz[1, 2] * 8, ping_ms=40.0)
    np.testing.assert_array_equal(link.seconds(many)[1, 2], link.seconds(single))
    np.testing.assert_allclose(edge.seconds(many)[1, 2], edge.seconds(single), rtol=1e-14)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"a": 1.0}, "set both a and b, or neither"),
        ({"upper": 1.0}, "set both upper and lower, or neither"),
        ({"a": -1.0, "b": -1.0}, "a is -1.0, must be 0 or more"),
        ({"upper": 1.0, "lower": 2.0}, "bounds must be 0 <= lower <= upper"),
        ({"a": math.nan, "b": 1.0}, "must be finite"),
    ],
)
def test_power_law_settings_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        PowerLaw(FOUR, **settings)


def test_unknown_model_and_fit_refused():
    with pytest.raises(ConfigError, match="has no model 'resnet18', it has: alexnet"):
        PowerLaw(placements_of([2, 1], model="resnet18"))
    with pytest.raises(
        FileError, match=r"no fit 'pi5': not a file, not a folder, not a shipped device \(paper_edge, pi4\)"
    ):
        PowerLaw(FOUR, fit="pi5")


def test_cloud_slope_refused():
    with pytest.raises(ConfigError, match="slope_s must be seconds per layer"):
        CloudLinear(FOUR, slope_s=-1.0)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, None, "fast", np.array([1000.0, 0.0])])
def test_clocks_refused(value):
    with pytest.raises(ForecastError, match="clock_mhz"):
        PowerLaw(FOUR).seconds(Observation(clock_mhz=value))


class TestPowerLaw(LatencyPredictorSuite):
    def placements(self):
        return chain_placements([600_000, 200_000, 50_000, 4_000])

    def make(self, placements):
        return PowerLaw(placements, a=3.7e6, b=-2.36, upper=0.0165, lower=0.0107)


class TestEq3(LatencyPredictorSuite):
    def make(self, placements):
        return Eq3(placements)


class TestCloudLinear(LatencyPredictorSuite):
    def make(self, placements):
        return CloudLinear(placements, slope_s=0.001)
