"""Observation fields are open: plugins name them, telemetry gives them, traces record them, the hub checks them."""

from __future__ import annotations

import numpy as np
import pytest

from midcut import hookimpl
from midcut.config.registry import load, registry
from midcut.edge.telemetry.hub import TelemetryHub
from midcut.errors import ConfigError, FileError, ForecastError
from midcut.fields import ObservationField, known_fields
from midcut.planning import non_negative_field, positive_field
from midcut.testing import ScriptedTelemetry
from midcut.traces import read_trace, write_trace
from midcut.types import Observation
from midcut_telemetry.played import Constant, Replay

FURTHER = ("power_w", "cloud_load", "cloud_price_usd_per_hour", "rate_hz", "second_bandwidth_kbps", "second_ping_ms")


@pytest.fixture(autouse=True)
def plugins():
    registry()


def test_the_fields_that_plugins_name_are_known_with_unit_and_bound():
    assert tuple(known_fields())[:3] == ("clock_mhz", "bandwidth_kbps", "ping_ms")
    assert set(FURTHER) <= set(known_fields())
    assert (known_fields()["power_w"].unit, known_fields()["power_w"].bound) == ("W", "0 or more")
    assert known_fields()["second_bandwidth_kbps"].bound == "0 or more"


def test_a_trace_with_any_of_them_survives_its_file_and_is_replayed(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("time_s,bandwidth_kbps,power_w,cloud_load\n0,8000,2.5,0\n1,9000,3.5,0.5\n")
    trace = read_trace(path)
    assert trace.at(1.0) == {"bandwidth_kbps": 9000.0, "power_w": 3.5, "cloud_load": 0.5}
    write_trace(tmp_path / "again.json", trace)
    assert read_trace(tmp_path / "again.json").at(0.0) == trace.at(0.0)
    assert Replay(str(path), 1.0, False, None, 1.0).read()["power_w"] in (2.5, 3.5)  # noqa: FBT003 - loop


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("power_w\n0,-1\n", "power_w must not be negative, got -1"),
        ("second_bandwidth_kbps\n0,-1\n", "second_bandwidth_kbps must not be negative, got -1"),
        ("power\n0,1\n", "unknown column 'power'; the columns are time_s, clock_mhz, .*power_w"),
    ],
)
def test_a_trace_with_a_value_that_a_field_cannot_have(tmp_path, row, message):
    path = tmp_path / "trace.csv"
    path.write_text(f"time_s,{row}")
    with pytest.raises(FileError, match=message):
        read_trace(path)


def test_the_hub_passes_them_on_and_refuses_impossible_ones():
    good = ScriptedTelemetry([{"power_w": 3.0, "clock_mhz": 600.0}])
    with TelemetryHub({"good": good, "bad": ScriptedTelemetry([{"rate_hz": -2.0}])}, 60.0) as hub:
        assert hub.wait(60.0)
        seen = hub.observe()
    assert seen.value("power_w") == 3.0
    assert seen.values() == {"clock_mhz": 600.0, "bandwidth_kbps": None, "ping_ms": None, "power_w": 3.0}
    assert seen.source["power_w"] == "good"
    assert "rate_hz" not in seen.others


def test_constants_of_any_field():
    source = Constant(1500.0, None, None, 1.0, {"cloud_load": 0.5})
    assert source.read() == {"clock_mhz": 1500.0, "cloud_load": 0.5}
    with pytest.raises(ConfigError, match=r"others.cloud_load must be 0 or more, got -1"):
        Constant(None, None, None, 1.0, {"cloud_load": -1.0})
    with pytest.raises(ConfigError, match="unknown field 'load'; there are: clock_mhz"):
        Constant(None, None, None, 1.0, {"load": 1.0})


def test_checked_access_to_a_further_field():
    many = Observation.of({"clock_mhz": np.array([1.0, 2.0]), "rate_hz": np.array([3.0, 4.0])})
    assert positive_field(many, "rate_hz").shape == (2, 1)
    with pytest.raises(ForecastError, match="the observation has no power_w"):
        non_negative_field(many, "power_w")
    with pytest.raises(ForecastError, match="cloud_load must be a finite number 0 or more, got -1"):
        non_negative_field(Observation.of({"cloud_load": -1.0}), "cloud_load")


def test_a_field_with_another_bound_is_a_problem_of_its_plugin():
    class Plugin:
        @hookimpl
        def midcut_observation_fields(self):
            return [ObservationField("power_w", "mW")]

    class Point:
        name, dist = "other", None

        def load(self):
            return Plugin()

    (problem,) = load([Point()]).problems
    assert "the observation field 'power_w' exists already, with another unit or bound" in problem
    with pytest.raises(ValueError, match="observation field 'power w'"):
        ObservationField("power w", "W")
