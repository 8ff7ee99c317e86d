from __future__ import annotations

import stat
import textwrap

import pytest
from structlog.testing import capture_logs

from midcut.errors import TelemetryError
from midcut.testing import TelemetrySourceSuite
from midcut_telemetry.config import Aggregate
from midcut_telemetry.cpufreq import Cpufreq
from midcut_telemetry.vcgencmd import Vcgencmd


def policy(root, number, khz, cores=None):
    folder = root / f"sys/devices/system/cpu/cpufreq/policy{number}"
    folder.mkdir(parents=True)
    (folder / "scaling_cur_freq").write_text(f"{khz}\n")
    if cores is not None:
        (folder / "affected_cpus").write_text(cores + "\n")


def cpuinfo(root, text):
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text(text)


def cpufreq(root, aggregate=Aggregate.max, core=None):
    return Cpufreq(root=str(root), aggregate=aggregate, core=core, interval_s=1.0)


def firmware(folder, script):
    path = folder / "vcgencmd"
    path.write_text("#!/bin/sh\n" + textwrap.dedent(script))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


FIRMWARE = """
case "$1" in
  measure_clock) echo "frequency(48)=600117184" ;;
  get_throttled) cat "$(dirname "$0")/flags" ;;
esac
"""


class TestCpufreqContract(TelemetrySourceSuite):
    @pytest.fixture(autouse=True)
    def _tree(self, tmp_path):
        self.root = tmp_path
        policy(tmp_path, 0, 1_500_000)

    def make(self):
        return cpufreq(self.root)

    def make_broken(self):
        return cpufreq(self.root / "nothing")


class TestVcgencmdContract(TelemetrySourceSuite):
    @pytest.fixture(autouse=True)
    def _command(self, tmp_path):
        self.folder = tmp_path
        (tmp_path / "flags").write_text("throttled=0x0\n")

    def make(self):
        return Vcgencmd(firmware(self.folder, FIRMWARE), timeout_s=60.0, interval_s=1.0)

    def make_broken(self):
        return Vcgencmd(str(self.folder / "absent"), timeout_s=60.0, interval_s=1.0)


def test_a_raspberry_pi_4_has_one_policy_for_four_cores(tmp_path):
    policy(tmp_path, 0, 900_000, "0 1 2 3")
    assert cpufreq(tmp_path).read() == {"clock_mhz": 900.0}
    assert cpufreq(tmp_path, core=3).read() == {"clock_mhz": 900.0}


@pytest.mark.parametrize(
    ("aggregate", "mhz"),
    [(Aggregate.max, 2400.0), (Aggregate.min, 1800.0), (Aggregate.mean, 2000.0)],  # (4 * 1800 + 2 * 2400) / 6
)
def test_the_mean_is_over_cores_not_over_policies(tmp_path, aggregate, mhz):
    policy(tmp_path, 0, 1_800_000, "0 1 2 3")
    policy(tmp_path, 4, 2_400_000, "4 5")
    assert cpufreq(tmp_path, aggregate).read() == {"clock_mhz": mhz}


def test_one_core_may_be_asked_for(tmp_path):
    policy(tmp_path, 0, 1_800_000, "0 1 2 3")
    policy(tmp_path, 4, 2_400_000, "4 5")
    assert cpufreq(tmp_path, core=5).read() == {"clock_mhz": 2400.0}
    with pytest.raises(TelemetryError, match=r"core 6 has no clock .* these have: 0, 1, 2, 3, 4, 5"):
        cpufreq(tmp_path, core=6).read()


def test_a_policy_whose_cores_are_offline_does_not_count(tmp_path):
    policy(tmp_path, 0, 600_000, "0")
    policy(tmp_path, 1, 0, "")
    assert cpufreq(tmp_path, Aggregate.min).read() == {"clock_mhz": 600.0}


def test_folders_per_core_do_where_there_are_no_policies(tmp_path):
    for core, khz in enumerate((1_000_000, 3_000_000)):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(str(khz))
    assert cpufreq(tmp_path, Aggregate.mean).read() == {"clock_mhz": 2000.0}


def test_a_changed_clock_is_seen_at_the_next_read(tmp_path):
    policy(tmp_path, 0, 600_000)
    source = cpufreq(tmp_path)
    source.read()
    (tmp_path / "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq").write_text("1500000\n")
    assert source.read() == {"clock_mhz": 1500.0}


def test_cpuinfo_helps_out(tmp_path):
    cpuinfo(tmp_path, "processor\t: 0\ncpu MHz\t\t: 2596.152\n\nprocessor\t: 1\ncpu MHz\t\t: 1200.000\n")
    assert cpufreq(tmp_path).read() == {"clock_mhz": 2596.152}
    assert cpufreq(tmp_path, core=1).read() == {"clock_mhz": 1200.0}


def test_cpuinfo_leaves_out_a_core_that_is_offline(tmp_path):
    rest = "model name\t: x\n"
    cpuinfo(tmp_path, f"processor\t: 0\n{rest}cpu MHz\t\t: 1000.0\n\nprocessor\t: 2\n{rest}cpu MHz\t\t: 2000.0\n")
    assert cpufreq(tmp_path, core=2).read() == {"clock_mhz": 2000.0}
    with pytest.raises(TelemetryError, match=r"core 1 has no clock under .*; these have: 0, 2"):
        cpufreq(tmp_path, core=1).read()


@pytest.mark.parametrize("arm", [None, "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd\n"])
def test_without_any_clock_the_error_says_where_it_looked(tmp_path, arm):
    if arm:
        cpuinfo(tmp_path, arm)
    with pytest.raises(TelemetryError) as caught:
        cpufreq(tmp_path).read()
    assert "scaling_cur_freq" in str(caught.value)
    assert str(tmp_path / "proc/cpuinfo") in str(caught.value)


@pytest.mark.parametrize("text", ["<unsupported>", "", "0", "-5", "1.5e6"])
def test_a_value_that_is_no_clock_is_refused_with_the_file(tmp_path, text):
    policy(tmp_path, 0, text)
    with pytest.raises(TelemetryError, match=r"policy0/scaling_cur_freq: not a clock in kHz"):
        cpufreq(tmp_path).read()


def test_vcgencmd_reads_the_real_clock(tmp_path):
    (tmp_path / "flags").write_text("throttled=0x0\n")
    assert Vcgencmd(firmware(tmp_path, FIRMWARE), 60.0, 1.0).read() == {"clock_mhz": 600.117184}


def test_throttling_flags_are_logged_when_they_change_only(tmp_path):
    source = Vcgencmd(firmware(tmp_path, FIRMWARE), 60.0, 1.0)
    with capture_logs() as logs:
        for flags in ("0x0", "0x50005", "0x50005", "0x50000"):
            (tmp_path / "flags").write_text(f"throttled={flags}\n")
            source.read()
    assert [(entry["flags"], entry["meaning"]) for entry in logs] == [
        (
            "0x50005",
            ["under-voltage", "throttled", "under-voltage has occurred", "throttling has occurred"],
        ),
        ("0x50000", ["under-voltage has occurred", "throttling has occurred"]),
    ]


def test_the_clock_counts_also_without_flags(tmp_path):
    assert Vcgencmd(firmware(tmp_path, FIRMWARE), 60.0, 1.0).read()["clock_mhz"] == pytest.approx(600.1, abs=0.1)


@pytest.mark.parametrize(
    ("script", "timeout_s", "complaint"),
    [
        ("echo VCHI initialization failed; exit 255", 60.0, "unexpected answer 'VCHI initialization failed'"),
        ("echo 'frequency(48)=0'", 60.0, "reported 0 Hz"),
        ("echo 'frequency(48)=fast'", 60.0, "unexpected answer"),
        ("exec sleep 300", 0.2, "no answer in 0.2 s"),
    ],
)
def test_an_odd_firmware_is_a_telemetry_error(tmp_path, script, timeout_s, complaint):
    with pytest.raises(TelemetryError, match="measure_clock arm: ") as caught:
        Vcgencmd(firmware(tmp_path, script), timeout_s, interval_s=1.0).read()
    assert complaint in str(caught.value)


def test_without_the_program_the_error_says_what_to_use(tmp_path):
    with pytest.raises(TelemetryError, match="No such file or directory; only a Raspberry Pi has it"):
        Vcgencmd(str(tmp_path / "absent"), 1.0, 1.0).read()


def test_vcgencmd_where_there_is_none_gives_nothing_if_optional(tmp_path):
    assert Vcgencmd(str(tmp_path / "absent"), 1.0, 1.0, optional=True).read() == {}
    assert Vcgencmd(firmware(tmp_path, FIRMWARE), 60.0, 1.0, optional=True).read() == {"clock_mhz": 600.117184}
