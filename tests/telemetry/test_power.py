"""Power sources on fake trees: counters that wrap, sensors of power, of voltage and current, and a fake firmware."""

from __future__ import annotations

import stat
import sys
import types

import pytest

from midcut.errors import TelemetryError
from midcut.testing import TelemetrySourceSuite
from midcut_telemetry.power import CountedPower, Counter, Hwmon, Nvml, Pmic, Rapl


def rapl_zone(root, name, microjoules, largest=262_143_328_850):
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{largest}\n")


def hwmon_chip(root, number, name, **files):
    folder = root / f"sys/class/hwmon/hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    for file, value in files.items():
        (folder / file).write_text(f"{value}\n")


def firmware(folder, text):
    path = folder / "vcgencmd"
    path.write_text(f"#!/bin/sh\ncat <<END\n{text}\nEND\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


ADC = """
  3V7_WL_SW_A current(0)=0.50000000A
   1V8_SYS_A current(1)=0.20000000A
  3V7_WL_SW_V volt(8)=3.70000000V
   1V8_SYS_V volt(9)=1.80000000V
     EXT5V_V volt(24)=5.10000000V
"""


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class TestRapl(TelemetrySourceSuite):
    @pytest.fixture(autouse=True)
    def _tree(self, tmp_path):
        self.root = tmp_path
        rapl_zone(tmp_path, "intel-rapl:0", 1_000_000)

    def make(self):
        return Rapl(str(self.root), 1.0)

    def make_broken(self):
        return Rapl(str(self.root / "nothing"), 1.0)


class TestHwmon(TelemetrySourceSuite):
    @pytest.fixture(autouse=True)
    def _tree(self, tmp_path):
        self.root = tmp_path
        hwmon_chip(tmp_path, 0, "ina260", power1_input=3_000_000)

    def make(self):
        return Hwmon(str(self.root), "", "", 1.0)

    def make_broken(self):
        return Hwmon(str(self.root / "nothing"), "", "", 1.0)


class TestPmic(TelemetrySourceSuite):
    @pytest.fixture(autouse=True)
    def _command(self, tmp_path):
        self.folder = tmp_path

    def make(self):
        return Pmic(firmware(self.folder, ADC), 60.0, 1.0)

    def make_broken(self):
        return Pmic("no-such-program", 2.0, 1.0)


def test_the_packages_of_a_processor_are_added_up_and_their_parts_are_not(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl-mmio:0"):
        rapl_zone(tmp_path, name, 0)
    (tmp_path / "sys/class/powercap/intel-rapl").mkdir()
    source = Rapl(str(tmp_path), 1.0)
    assert source.energy_j() == 0.0
    rapl_zone(tmp_path, "intel-rapl:0", 4_000_000)
    rapl_zone(tmp_path, "intel-rapl:1", 5_000_000)
    rapl_zone(tmp_path, "intel-rapl:0:0", 3_000_000)
    assert source.energy_j() == pytest.approx(9.0)


def test_the_counter_of_the_whole_platform_is_not_added_to_the_packages_that_it_holds(tmp_path):
    for name, kind in (("intel-rapl:0", "package-0"), ("intel-rapl:1", "psys")):
        rapl_zone(tmp_path, name, 0)
        (tmp_path / "sys/class/powercap" / name / "name").write_text(f"{kind}\n")
    source = Rapl(str(tmp_path), 1.0)
    source.energy_j()
    rapl_zone(tmp_path, "intel-rapl:0", 10_000_000)
    rapl_zone(tmp_path, "intel-rapl:1", 15_000_000)
    assert source.energy_j() == pytest.approx(10.0)


def test_a_counter_that_starts_again_at_zero(tmp_path):
    rapl_zone(tmp_path, "intel-rapl:0", 9_000_000, largest=10_000_000)
    source = Rapl(str(tmp_path), 1.0)
    source.energy_j()
    rapl_zone(tmp_path, "intel-rapl:0", 2_000_000, largest=10_000_000)
    assert source.energy_j() == pytest.approx(3.0)
    rapl_zone(tmp_path, "intel-rapl:0", 2_500_000, largest=10_000_000)
    assert source.energy_j() == pytest.approx(3.5)


def test_power_is_energy_over_the_seconds_between_two_reads():
    clock, joules = Clock(), [0]
    source = CountedPower(Counter(lambda: {"x": (joules[0] * 1_000_000, 10**12)}), 1.0, clock)
    assert source.read() == {}
    clock.now, joules[0] = 104.0, 30
    assert source.read() == {"power_w": pytest.approx(7.5)}


def test_voltage_times_current_of_an_ina3221_and_the_whole_boards_channel(tmp_path):
    hwmon_chip(tmp_path, 0, "cpu_thermal", temp1_input=40_000)
    hwmon_chip(
        tmp_path, 1, "ina3221", in1_label="VDD_IN", in1_input=5000, curr1_input=1200, in2_label="VDD_CPU",
        in2_input=5000, curr2_input=400, in7_label="sum of shunt voltages", in7_input=9,
    )  # fmt: skip
    assert Hwmon(str(tmp_path), "", "", 1.0).read() == {"power_w": pytest.approx(6.0)}
    assert Hwmon(str(tmp_path), "ina3221", "VDD_CPU", 1.0).read() == {"power_w": pytest.approx(2.0)}
    with pytest.raises(TelemetryError, match=r"no channel 'VDD_GPU'; it has VDD_CPU, VDD_IN"):
        Hwmon(str(tmp_path), "", "VDD_GPU", 1.0).read()
    with pytest.raises(TelemetryError, match=r"no chip named 'ina226' under .* measures power"):
        Hwmon(str(tmp_path), "ina226", "", 1.0).read()


def test_the_sum_of_currents_of_an_ina3221_is_no_channel_and_one_that_is_off_is_left_out(tmp_path):
    hwmon_chip(
        tmp_path, 0, "ina3221", in1_label="CPU", in1_input=5000, curr1_input=1000, in1_enable=1, in2_label="GPU",
        in2_input=5000, curr2_input=500, in3_enable=0, in3_input="", curr3_input="", in4_input=5000, in5_input=2500,
        in7_input=7500, curr4_input=1500,
    )  # fmt: skip
    assert Hwmon(str(tmp_path), "", "", 1.0).read() == {"power_w": pytest.approx(7.5)}


def test_channels_without_a_whole_board_are_added_up(tmp_path):
    hwmon_chip(tmp_path, 0, "ina226", power1_input=1_500_000, power2_input=500_000)
    assert Hwmon(str(tmp_path), "", "", 1.0).read() == {"power_w": pytest.approx(2.0)}


def test_a_raspberry_pi_5_by_hand(tmp_path):
    watts = (0.5 * 3.7 + 0.2 * 1.8) * 1.1451 + 0.5879
    assert Pmic(firmware(tmp_path, ADC), 60.0, 1.0).read() == {"power_w": pytest.approx(watts)}
    with pytest.raises(TelemetryError, match="no rail with voltage and current in 'bad command'"):
        Pmic(firmware(tmp_path, "bad command"), 60.0, 1.0).read()


def test_a_gpus_counter(monkeypatch):
    fake = types.ModuleType("pynvml")
    fake.NVMLError = type("NVMLError", (Exception,), {})
    fake.nvmlInit = fake.nvmlShutdown = lambda: None
    fake.nvmlDeviceGetHandleByIndex = lambda device: device
    millijoules = [5_000]
    fake.nvmlDeviceGetTotalEnergyConsumption = lambda _: millijoules[0]
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    source = Nvml(0, 1.0)
    source.energy_j()
    millijoules[0] = 12_000
    assert source.energy_j() == pytest.approx(7.0)
    source.close()

    def missing(_):
        raise fake.NVMLError("Not Supported")

    fake.nvmlDeviceGetTotalEnergyConsumption = missing
    with pytest.raises(TelemetryError, match="NVML has no energy counter for this GPU: Not Supported"):
        Nvml(0, 1.0).read()


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(TelemetryError, match=r"needs the extra `nvml`"):
        Nvml(0, 1.0)


def test_a_value_that_is_no_number_names_its_file(tmp_path):
    rapl_zone(tmp_path, "intel-rapl:0", "-5")
    with pytest.raises(TelemetryError, match=r"intel-rapl:0/energy_uj: not a number, 0 or more: '-5'"):
        Rapl(str(tmp_path), 1.0).read()
