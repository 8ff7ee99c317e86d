from __future__ import annotations

import time

import pytest

from midcut.errors import ConfigError, FileError
from midcut.testing import TelemetrySourceSuite
from midcut_telemetry.played import Constant, Replay

TRACE = "time_s,clock_mhz,ping_ms\n0,1500,20\n10,600,80\n"


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(TRACE)
    return str(path)


def replay(path, speed=1.0, loop=False, epoch_s=None):
    return Replay(path=path, speed=speed, loop=loop, epoch_s=epoch_s, interval_s=1.0)


class TestConstantContract(TelemetrySourceSuite):
    def make(self):
        return Constant(clock_mhz=600.0, bandwidth_kbps=1000.0, ping_ms=0.0, interval_s=1.0)


class TestReplayContract(TelemetrySourceSuite):
    @pytest.fixture(autouse=True)
    def _trace(self, trace):
        self.trace = trace

    def make(self):
        return replay(self.trace)


def test_a_null_constant_is_left_to_others():
    assert Constant(clock_mhz=None, bandwidth_kbps=5.0, ping_ms=None, interval_s=1.0).read() == {"bandwidth_kbps": 5.0}


@pytest.mark.parametrize(("field", "value"), [("clock_mhz", 0.0), ("bandwidth_kbps", -1.0), ("ping_ms", float("nan"))])
def test_a_constant_that_cannot_be_is_refused(field, value):
    settings = {"clock_mhz": None, "bandwidth_kbps": None, "ping_ms": None} | {field: value}
    with pytest.raises(ConfigError, match=rf"telemetry\.constant\.{field} must be over 0"):
        Constant(**settings, interval_s=1.0)


def test_replay_follows_its_epoch_speed_and_loop(trace):
    now = time.time()
    assert replay(trace).read() == {"clock_mhz": 1500.0, "ping_ms": 20.0}
    assert replay(trace, epoch_s=now - 11).read()["clock_mhz"] == 600.0
    assert replay(trace, epoch_s=now + 60).read()["clock_mhz"] == 1500.0
    assert replay(trace, epoch_s=now - 2, speed=6.0).read()["clock_mhz"] == 600.0
    assert replay(trace, epoch_s=now - 1e6).read()["clock_mhz"] == 600.0
    assert replay(trace, epoch_s=now - 22, loop=True).read()["clock_mhz"] == 1500.0  # a round is 20 s
    assert replay(trace, epoch_s=now - 35, loop=True).read()["clock_mhz"] == 600.0


def test_a_bad_trace_stops_replay_at_the_start(tmp_path):
    with pytest.raises(FileError, match=r"no\.csv: cannot read the trace"):
        replay(str(tmp_path / "no.csv"))


def test_time_does_not_stand_still(trace):
    with pytest.raises(ConfigError, match="a trace's speed must be over 0, got 0"):
        replay(trace, speed=0.0)
