"""The telemetry sources that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut.fields import ObservationField
from midcut_telemetry import config

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_observation_fields() -> Sequence[ObservationField]:
    return (
        ObservationField("power_w", "W", summary="power of this machine"),
        ObservationField("cloud_load", "", summary="how much longer the busy cloud takes: 0.5 is half as long again"),
        ObservationField("cloud_price_usd_per_hour", "$/h", summary="price that the cloud asks now"),
        ObservationField(
            "cloud_price_slope_usd_per_hour", "$/h", summary="how much that price rises for each busy second a second"
        ),
        ObservationField("rate_hz", "Hz", summary="requests a second"),
        ObservationField("second_bandwidth_kbps", "kbit/s", summary="bandwidth of the second hop"),
        ObservationField("second_ping_ms", "ms", summary="round trip of the second hop"),
    )


@hookimpl
def midcut_telemetry_sources() -> Sequence[Component]:
    return (
        Component("constant", config.ConstantConfig, "midcut_telemetry.played.Constant", "numbers that do not change"),
        Component("replay", config.ReplayConfig, "midcut_telemetry.played.Replay", "a recorded trace, CSV or JSON"),
        Component(
            "cpufreq", config.CpufreqConfig, "midcut_telemetry.cpufreq.Cpufreq", "clock: Linux cpufreq, /proc/cpuinfo"
        ),
        Component(
            "vcgencmd", config.VcgencmdConfig, "midcut_telemetry.vcgencmd.Vcgencmd", "clock: a Raspberry Pi's real one"
        ),
        Component("rapl", config.RaplConfig, "midcut_telemetry.power.Rapl", "power: energy counters of a processor"),
        Component("hwmon", config.HwmonConfig, "midcut_telemetry.power.Hwmon", "power: the kernel's sensors, INA3221"),
        Component("pmic", config.PmicConfig, "midcut_telemetry.power.Pmic", "power: a Raspberry Pi 5's converter"),
        Component("nvml", config.NvmlConfig, "midcut_telemetry.power.Nvml", "power: an NVIDIA GPU, extra `nvml`"),
        Component(
            "tcp_ping", config.TcpPingConfig, "midcut_telemetry.tcp_ping.TcpPing", "ping: TCP connect, needs no rights"
        ),
        Component(
            "icmp_ping", config.IcmpPingConfig, "midcut_telemetry.icmp_ping.IcmpPing", "ping: ICMP echo, extra `icmp`"
        ),
        Component(
            "http_ping",
            config.HttpPingConfig,
            "midcut_telemetry.http_ping.HttpPing",
            "ping: GET /health on a keep-alive connection",
        ),
        Component(
            "conditions",
            config.ConditionsConfig,
            "midcut_telemetry.conditions.Conditions",
            "what the cloud observes: a relay's second link, load, price",
        ),
        Component(
            "bandwidth_probe",
            config.BandwidthProbeConfig,
            "midcut_telemetry.bandwidth_probe.BandwidthProbe",
            "bandwidth: timed upload to the cloud",
        ),
        Component(
            "passive_bandwidth",
            config.PassiveBandwidthConfig,
            "midcut_telemetry.passive_bandwidth.PassiveBandwidth",
            "bandwidth: from the requests themselves",
        ),
    )
