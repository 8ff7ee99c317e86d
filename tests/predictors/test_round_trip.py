"""The link of what is really sent, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from midcut.errors import ConfigError, ForecastError
from midcut.terms import SlowStart
from midcut.testing import LatencyPredictorSuite
from midcut.types import Observation, Placements
from midcut.wire.tcp import rate_kbps, slow_start_s, starts_slowly, window_bytes
from midcut_predictors.link import Eq3, RoundTrip


def placements() -> Placements:
    column = np.arange(3)
    return Placements(
        model="any",
        cut=column,
        layer=column,
        payload_bytes=np.array([600_000.0, 30_000.0, 4_000.0]),
        request_bytes=np.array([800_500.0, 40_500.0, 0.0]),
        reply_bytes=np.array([5_500.0, 5_500.0, 0.0]),
        on_edge=column == 2,
        nodes=2,
        layers=2,
    )


LINK = Observation(bandwidth_kbps=8000.0, ping_ms=30.0)


def test_request_reply_and_a_whole_ping():
    # 8 Mbit/s is 1 MB/s: 0.8005 + 0.0055 + 0.03 = 0.836; 0.0405 + 0.0055 + 0.03 = 0.076; nothing sent: 0.
    np.testing.assert_allclose(RoundTrip(placements()).seconds(LINK), [0.836, 0.076, 0.0], rtol=1e-15)


def test_a_codecs_own_seconds_come_on_top_where_something_is_sent():
    coded = replace(placements(), codec=("raw", "fp16", "raw"), codec_s=np.array([0.0, 0.004, 0.0]))
    np.testing.assert_allclose(RoundTrip(coded).seconds(LINK), [0.836, 0.080, 0.0], rtol=1e-15)
    np.testing.assert_array_equal(Eq3(coded).seconds(LINK), Eq3(placements()).seconds(LINK))


def test_encoding_takes_longer_at_a_slower_clock_and_decoding_in_the_cloud_does_not():
    # 4 ms of coding, of which 3 ms are encoding at 1500 MHz: at 500 MHz 9 + 1, at 3000 MHz 1.5 + 1.
    coding = {"codec_s": np.array([0.0, 0.004, 0.0]), "encode_s": np.array([0.0, 0.003, 0.0])}
    coded = replace(placements(), codec=("raw", "fp16", "raw"), **coding, encode_mhz_s=np.array([0.0, 4.5, 0.0]))
    for clock_mhz, coding_s in ((1500.0, 0.004), (500.0, 0.010), (3000.0, 0.0025), (None, 0.004)):
        seconds = RoundTrip(coded).seconds(replace(LINK, clock_mhz=clock_mhz))
        np.testing.assert_allclose(seconds, [0.836, 0.076 + coding_s, 0.0], rtol=1e-12)
    many = RoundTrip(coded).seconds(Observation(np.array([500.0, 3000.0]), np.array([8000.0]), np.array([30.0])))
    np.testing.assert_allclose(many[:, 1], [0.086, 0.0785], rtol=1e-12)
    # Without a clock of the measurement, as on a machine that does not report one, nothing is scaled.
    unknown = replace(coded, encode_s=np.zeros(3), encode_mhz_s=np.zeros(3))
    np.testing.assert_allclose(RoundTrip(unknown).seconds(replace(LINK, clock_mhz=1.0))[1], 0.08, rtol=1e-12)


def test_a_downlink_of_its_own_and_overhead():
    # Reply at 44 Mbit/s: 5500 * 8 / 44e6 = 0.001; overhead 0.002: 0.8005 + 0.001 + 0.03 + 0.002 = 0.8335.
    link = RoundTrip(placements(), downlink_kbps=44_000.0, overhead_s=0.002)
    np.testing.assert_allclose(link.seconds(LINK), [0.8335, 0.0735, 0.0], rtol=1e-15)


def test_many_observations():
    bandwidth = np.array([[1000.0], [8000.0]])
    ping = np.array([10.0, 30.0, 90.0])
    seconds = RoundTrip(placements()).seconds(Observation(bandwidth_kbps=bandwidth, ping_ms=ping))
    assert seconds.shape == (2, 3, 3)
    np.testing.assert_array_equal(seconds[1, 1], RoundTrip(placements()).seconds(LINK))


@pytest.mark.parametrize("make", [RoundTrip, Eq3])
@pytest.mark.parametrize("bad", [-5.0, math.nan, math.inf, None])
def test_bandwidth_refused(make, bad):
    with pytest.raises(ForecastError, match="bandwidth_kbps"):
        make(placements()).seconds(Observation(bandwidth_kbps=bad, ping_ms=30.0))


@pytest.mark.parametrize("make", [RoundTrip, Eq3])
def test_an_outage_makes_what_is_sent_very_late_but_stays_a_number(make):
    seconds = make(placements()).seconds(Observation(bandwidth_kbps=np.array([0.0, 9000.0]), ping_ms=30.0))
    assert np.isfinite(seconds).all()
    assert seconds[0, 0] > 1e3 * seconds[1, 0]
    assert make(placements()).seconds(Observation(bandwidth_kbps=0.0, ping_ms=30.0))[0] > 3600.0


@pytest.mark.parametrize("make", [RoundTrip, Eq3])
def test_ping_refused(make):
    with pytest.raises(ForecastError, match=r"ping_ms must be a finite number 0 or more, got -1\.0"):
        make(placements()).seconds(Observation(bandwidth_kbps=1.0, ping_ms=-1.0))
    assert make(placements()).seconds(Observation(bandwidth_kbps=1.0, ping_ms=0)).shape == (3,)


@pytest.mark.parametrize("settings", [{"downlink_kbps": 0.0}, {"downlink_kbps": math.nan}, {"overhead_s": -1.0}])
def test_settings_refused(settings):
    with pytest.raises(ConfigError, match=f"predictor.link.{next(iter(settings))}"):
        RoundTrip(placements(), **settings)


class TestRoundTrip(LatencyPredictorSuite):
    def make(self, placements):
        return RoundTrip(placements, overhead_s=0.001)


def bodies(*sizes):
    column = np.arange(len(sizes))
    return Placements(
        model="any",
        cut=column,
        layer=column,
        payload_bytes=np.array(sizes, dtype=float),
        request_bytes=np.array(sizes, dtype=float),
        reply_bytes=np.zeros(len(sizes)),
        on_edge=np.zeros(len(sizes), dtype=bool),
        nodes=9,
        layers=9,
    )


def test_slow_start_by_hand():
    # 10 Mbit/s, 50 ms. The first window, 14480 bytes, takes 11.584 ms: 38.416 are waited; the second, 28960 bytes,
    # takes 23.168: 26.832; the third, 57920 bytes, 46.336: 3.664; the fourth is more than the link holds.
    # 14480 bytes are one window, 43440 are two, 101360 three.
    link = RoundTrip(bodies(14_480, 14_481, 43_440, 43_441, 101_360, 101_361, 600_000), slow_start=SlowStart.always)
    waits_ms = [0.0, 38.416, 38.416, 65.248, 65.248, 68.912, 68.912]
    here = Observation(bandwidth_kbps=10_000.0, ping_ms=50.0)
    without = RoundTrip(bodies(14_480, 14_481, 43_440, 43_441, 101_360, 101_361, 600_000)).seconds(here)
    np.testing.assert_allclose((link.seconds(here) - without) * 1000, waits_ms, atol=1e-9)


@pytest.mark.parametrize(
    ("line_mbps", "ping_ms", "size_bytes", "measured_ms"),
    [
        (10, 50, 10_000, 60),
        (10, 50, 50_000, 163),
        (10, 50, 200_000, 293),
        (10, 50, 600_000, 628),
        (20, 150, 50_000, 458),
        (20, 150, 200_000, 648),
    ],
)
def test_slow_start_against_measured_uploads(line_mbps, ping_ms, size_bytes, measured_ms):
    """POSTs on a connection idle for 2 s before, reno, over a shaped link; a segment takes 1514 bytes of it.

    HTTP at both ends took 2 to 3 ms of each.
    """
    goodput_kbps = line_mbps * 1000 * 1448 / 1514
    link = RoundTrip(bodies(size_bytes), overhead_s=0.0025, slow_start=SlowStart.always)
    (seconds,) = link.seconds(Observation(bandwidth_kbps=goodput_kbps, ping_ms=float(ping_ms)))
    assert seconds * 1000 == pytest.approx(measured_ms, rel=0.035)


def test_slow_start_of_many_observations_is_that_of_each():
    link = RoundTrip(bodies(5_000, 50_000, 600_000), slow_start=SlowStart.always, initial_window=4)
    bandwidth = np.array([[1000.0], [8000.0], [90_000.0]])
    ping = np.array([0.0, 30.0, 90.0])
    seconds = link.seconds(Observation(bandwidth_kbps=bandwidth, ping_ms=ping))
    for row, kbps in enumerate(bandwidth[:, 0]):
        for column, ping_ms in enumerate(ping):
            by_hand = [
                size * 8 / kbps / 1000 + ping_ms / 1000 + slow_start_s(size, kbps, ping_ms / 1000, 4 * 1448)
                for size in (5_000, 50_000, 600_000)
            ]
            np.testing.assert_allclose(seconds[row, column], by_hand, rtol=1e-12)


def test_what_is_not_sent_does_not_start_slowly():
    here = replace(placements(), request_bytes=np.array([800_500.0, 40_500.0, 0.0]))
    assert RoundTrip(here, slow_start=SlowStart.always).seconds(LINK)[2] == 0.0


def test_a_bandwidth_is_found_back_from_the_seconds_it_took():
    for kbps in (1_000.0, 9_564.0, 47_800.0):
        seconds = 200_000 * 8 / kbps / 1e3 + slow_start_s(200_000, kbps, 0.02, 14_480)
        assert rate_kbps(200_000, seconds, 0.02, math.inf) == pytest.approx(kbps, rel=0.002)
    # In less time than the windows alone would wait: the connection was not slow to start.
    assert rate_kbps(200_000, 0.005, 0.1, math.inf) == pytest.approx(320_000.0)


def test_the_window_after_a_pause_by_hand():
    # 8 Mbit/s, 100 ms hold 100 kB; the kernel halves every 0.3 + 0.1 s of pause, down to ten segments.
    waits = [
        (0.0, math.inf),
        (0.39, math.inf),
        (0.41, 50_000.0),
        (0.81, 25_000.0),
        (1.3, 14_480.0),
        (math.inf, 14_480.0),
    ]
    for pause_s, window in waits:
        assert window_bytes(pause_s, 8000.0, 0.1) == window


def test_auto_goes_by_how_long_requests_pause(monkeypatch, tmp_path):
    monkeypatch.setattr("midcut.wire.tcp._SETTINGS", tmp_path)
    auto, always, never = (RoundTrip(bodies(200_000, 5_000), slow_start=how) for how in SlowStart)
    here = Observation(bandwidth_kbps=8000.0, ping_ms=100.0)
    np.testing.assert_array_equal(auto.seconds(here), always.seconds(here))  # nothing was sent yet
    np.testing.assert_array_equal(auto.seconds(replace(here, pause_s=0.1)), never.seconds(here))
    np.testing.assert_array_equal(auto.seconds(replace(here, pause_s=5.0)), always.seconds(here))
    np.testing.assert_array_equal(always.seconds(replace(here, pause_s=0.1)), always.seconds(here))
    # After 0.5 s the window is 50 kB, which take 50 of 100 ms; the next, 100 kB, is what the link holds.
    waits = auto.seconds(replace(here, pause_s=0.5)) - never.seconds(here)
    np.testing.assert_allclose(waits, [0.05, 0.0], atol=1e-12)
    (tmp_path / "tcp_slow_start_after_idle").write_text("0")
    settled = RoundTrip(bodies(200_000, 5_000), slow_start=SlowStart.auto)
    np.testing.assert_array_equal(settled.seconds(replace(here, pause_s=5.0)), never.seconds(here))


def test_a_host_is_asked_only_for_auto(monkeypatch, tmp_path):
    monkeypatch.setattr("midcut.wire.tcp._SETTINGS", tmp_path)
    assert starts_slowly(SlowStart.always)
    assert not starts_slowly(SlowStart.never)
    assert starts_slowly(SlowStart.auto)  # no such setting: not Linux
    (tmp_path / "tcp_congestion_control").write_text("cubic\n")
    (tmp_path / "tcp_slow_start_after_idle").write_text("1\n")
    assert starts_slowly(SlowStart.auto)
    (tmp_path / "tcp_slow_start_after_idle").write_text("0\n")
    assert not starts_slowly(SlowStart.auto)
    (tmp_path / "tcp_slow_start_after_idle").write_text("1\n")
    (tmp_path / "tcp_congestion_control").write_text("bbr\n")
    assert not starts_slowly(SlowStart.auto)


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="initial_window must be 1 or more"):
        RoundTrip(placements(), initial_window=0)
