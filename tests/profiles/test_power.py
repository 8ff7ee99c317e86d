"""Power of computing from a window's energy."""

from __future__ import annotations

import threading

import pytest

from midcut.errors import ConfigError, TelemetryError
from midcut.profiles.power import PowerMeasurement, SampledEnergy, Window, busy_power_w, first_that_works


def test_the_worked_example():
    assert busy_power_w(Window(energy_j=30.0, seconds=10.0, busy_s=4.0), idle_w=2.0) == pytest.approx(2.0 + 2.5)


def test_a_window_without_computing_gets_one_line():
    with pytest.raises(ConfigError, match="nothing was computed in the window"):
        busy_power_w(Window(30.0, 10.0, 0.0), 2.0)


class Machine:
    """2 W idle, 7 W busy, by a clock that only `pass_s` moves."""

    def __init__(self):
        self.now, self.joules = 0.0, 0.0

    def pass_s(self, seconds, busy=0.0):
        self.now += seconds
        self.joules += 2.0 * seconds + 5.0 * busy

    def clock(self):
        return self.now

    def energy_j(self):
        return self.joules


def test_idle_first_then_the_window():
    machine = Machine()
    power = PowerMeasurement(machine, 5.0, machine.clock, machine.pass_s)
    assert power.idle_w == pytest.approx(2.0)
    machine.pass_s(8.0, busy=6.0)
    assert power.busy_w(6.0) == pytest.approx(7.0)


def test_a_sensor_of_power_is_summed_up():
    machine, watts = Machine(), [2.0]

    class Sensor:
        interval_s = 1.0

        def read(self):
            return {"power_w": watts[0]}

        def close(self):
            pass

    energy = SampledEnergy(Sensor(), machine.clock)
    machine.pass_s(10.0)
    assert energy.energy_j() == pytest.approx(20.0)
    watts[0] = 6.0
    machine.pass_s(1.0)
    assert energy.energy_j() == pytest.approx(24.0)  # from 2 to 6 W in a second


def test_sampling_ends_with_its_block():
    class Sensor:
        interval_s = 1.0

        def read(self):
            return {"power_w": 3.0}

        def close(self):
            pass

    with SampledEnergy(Sensor()):
        assert "power" in {thread.name for thread in threading.enumerate()}
    assert "power" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("failures", [1, 40])
def test_a_sensor_that_fails_is_read_again_and_a_long_gap_is_an_error(monkeypatch, failures):
    monkeypatch.setattr("midcut.profiles.power.SAMPLE_S", 0.001)
    left, recovered = [failures], threading.Event()

    class Sensor:
        interval_s = 1.0

        def read(self):
            if threading.current_thread().name == "power":
                if left[0]:
                    left[0] -= 1
                    raise TelemetryError("no answer from the sensor")
                recovered.set()
            return {"power_w": 3.0}

        def close(self):
            pass

    with SampledEnergy(Sensor()) as energy:
        assert recovered.wait(60)
        if failures == 1:
            assert energy.energy_j() > 0.0
        else:
            with pytest.raises(TelemetryError, match="could not be measured for 40 readings: no answer"):
                energy.energy_j()


def test_the_first_source_that_measures_is_taken_and_without_one_every_reason_is_given():
    class Broken:
        def read(self):
            raise TelemetryError("no such file")

    class Clock:
        def read(self):
            return {"clock_mhz": 600.0}

    machine = Machine()
    assert first_that_works({"rapl": Broken(), "meter": machine}) == ("meter", machine)
    with pytest.raises(ConfigError, match="no telemetry source measures power here; rapl: no such file; c: gives no"):
        first_that_works({"rapl": Broken(), "c": Clock()})
