"""Setting clocks on a fake cpufreq tree, and restoring them whatever happens."""

from __future__ import annotations

import os
import signal

import pytest

from midcut.errors import ConfigError
from midcut.profiles.clocks import CpuClocks

FREQUENCIES = "600000 900000 1200000 1500000"


@pytest.fixture
def tree(tmp_path):
    """Two policies, 600 to 1500 MHz, as on a Raspberry Pi 4."""
    for policy in ("policy0", "policy1"):
        folder = tmp_path / "cpufreq" / policy
        folder.mkdir(parents=True)
        for name, value in {
            "scaling_available_frequencies": FREQUENCIES + " ",
            "scaling_min_freq": "600000",
            "scaling_max_freq": "1500000",
            "scaling_cur_freq": "900000" if policy == "policy0" else "1200000",
            "scaling_governor": "ondemand",
            "scaling_setspeed": "<unsupported>",
        }.items():
            (folder / name).write_text(value + "\n")
    return tmp_path


def limits(tree):
    return [
        tuple(int((policy / f"scaling_{name}_freq").read_text()) for name in ("min", "max"))
        for policy in sorted((tree / "cpufreq").iterdir())
    ]


def test_what_it_reads(tree):
    clocks = CpuClocks(tree)
    assert clocks.available_mhz() == (600.0, 900.0, 1200.0, 1500.0)
    assert clocks.current_mhz() == 1200.0
    assert clocks.why_not_settable() == ""


def test_both_limits_are_pinned_and_restored(tree):
    clocks = CpuClocks(tree)
    with clocks.restored():
        for mhz in (600, 1500, 900):
            clocks.set_mhz(mhz)
            assert limits(tree) == [(mhz * 1000, mhz * 1000)] * 2
        assert (tree / "cpufreq/policy0/scaling_setspeed").read_text() == "<unsupported>\n"
    assert limits(tree) == [(600_000, 1_500_000)] * 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_restored_after(tree, error):
    def interrupted():
        with CpuClocks(tree).restored():
            CpuClocks(tree).set_mhz(900)
            raise error

    with pytest.raises(error):
        interrupted()
    assert limits(tree) == [(600_000, 1_500_000)] * 2


def test_restored_after_sigterm(tree):
    before = signal.getsignal(signal.SIGTERM)

    def terminated():
        with CpuClocks(tree).restored():
            CpuClocks(tree).set_mhz(900)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as exit_:
        terminated()
    assert exit_.value.code == 143
    assert limits(tree) == [(600_000, 1_500_000)] * 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_cannot_be_restored_does_not_keep_the_others_from_it(tree):
    clocks, lost = CpuClocks(tree), tree / "cpufreq" / "policy0" / "scaling_min_freq"

    def switched_off():
        with clocks.restored():
            clocks.set_mhz(900)
            lost.unlink()
            lost.mkdir()

    with pytest.raises(ConfigError, match="cannot write 600000 to"):
        switched_off()
    lost.rmdir()
    lost.write_text("0")
    assert limits(tree)[1] == (600_000, 1_500_000)


def test_with_the_userspace_governor_the_speed_is_set_too(tree):
    folder = tree / "cpufreq" / "policy0"
    (folder / "scaling_governor").write_text("userspace\n")
    (folder / "scaling_setspeed").write_text("1500000\n")
    clocks = CpuClocks(tree)
    with clocks.restored():
        clocks.set_mhz(900)
        assert (folder / "scaling_setspeed").read_text() == "900000"
    assert (folder / "scaling_setspeed").read_text() == "1500000"


def test_per_cpu_folders(tree):
    (tree / "cpufreq" / "policy0").rename(tree / "moved")
    for entry in ("cpu0", "cpu1"):
        (tree / entry).mkdir()
    (tree / "moved").rename(tree / "cpu0" / "cpufreq")
    (tree / "cpufreq" / "policy1").rename(tree / "cpu1" / "cpufreq")
    assert len(CpuClocks(tree).policies) == 2
    assert CpuClocks(tree).current_mhz() == 1200.0


def test_no_cpufreq(tmp_path):
    clocks = CpuClocks(tmp_path)
    assert clocks.current_mhz() is None
    assert clocks.available_mhz() == ()
    assert clocks.why_not_settable() == f"{tmp_path} has no cpufreq"


def test_a_clock_that_the_machine_ignores_is_refused(tree):
    limit = tree / "cpufreq" / "policy0" / "scaling_max_freq"
    limit.unlink()
    limit.symlink_to("/dev/null")  # accepts every write and stores nothing
    with pytest.raises(ConfigError, match="runs at 0 MHz instead of 1000; available: 600, 900, 1200, 1500"):
        CpuClocks(tree).set_mhz(1000)
