"""Knobs of the telemetry sources. `interval_s` is everywhere the seconds between two reads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from midcut.terms import SlowStart


class Aggregate(Enum):
    """How the clocks of several cores become one."""

    max = "max"
    mean = "mean"
    min = "min"


class Estimate(Enum):
    """How the last transfers become one figure."""

    median = "median"
    ewma = "ewma"


@dataclass
class ConstantConfig:
    """Numbers that do not change.

    Attributes:
        clock_mhz: edge clock, MHz; null leaves the field to other sources, as below.
        bandwidth_kbps: edge to cloud, kbit/s.
        ping_ms: round trip, ms.
    """

    clock_mhz: float | None = 1500.0
    bandwidth_kbps: float | None = 10000.0
    ping_ms: float | None = 20.0
    interval_s: float = 1.0


@dataclass
class ReplayConfig:
    """A recorded trace, played against the wall clock.

    Attributes:
        path: CSV or JSON with `time_s` and any of `clock_mhz`, `bandwidth_kbps`, `ping_ms`.
        speed: 2 plays twice as fast.
        loop: start again at the end; otherwise the last row holds.
        epoch_s: when the trace starts, seconds since the epoch; null is at start.
    """

    path: str = MISSING
    speed: float = 1.0
    loop: bool = False
    epoch_s: float | None = None
    interval_s: float = 1.0


@dataclass
class CpufreqConfig:
    """The clock that the kernel's cpufreq asks for (on a Raspberry Pi the real one may be lower: `vcgencmd`).

    Attributes:
        root: where `sys` and `proc` are.
        aggregate: what to report of several cores.
        core: report this core instead.
    """

    root: str = "/"
    aggregate: Aggregate = Aggregate.max
    core: int | None = None
    interval_s: float = 1.0


@dataclass
class VcgencmdConfig:
    """The real clock of a Raspberry Pi, by its firmware; throttling flags are logged when they change.

    Attributes:
        command: the program, by name or path.
        optional: where there is no such program, give nothing instead of failing.
        timeout_s: it must answer after this long.
    """

    command: str = "vcgencmd"
    optional: bool = False
    timeout_s: float = 2.0
    interval_s: float = 1.0


@dataclass
class TcpPingConfig:
    """Round trip of a TCP connect; a refused connection counts too. Needs no rights; 25 kB a minute for each sample.

    Attributes:
        url: the cloud.
        samples: connects per read; the smallest counts.
        timeout_s: each connect must be done after this long.
    """

    url: str = "${cloud_url}"
    samples: int = 3
    timeout_s: float = 2.0
    interval_s: float = 1.0


@dataclass
class IcmpPingConfig:
    """Round trip by ICMP echo. Needs the extra `icmp`, and rights; 12 kB a minute for each sample.

    Attributes:
        url: the cloud.
        samples: echoes per read; the smallest counts.
        privileged: raw sockets (root or CAP_NET_RAW); otherwise `net.ipv4.ping_group_range` must include us.
        timeout_s: each echo must be back after this long.
    """

    url: str = "${cloud_url}"
    samples: int = 3
    privileged: bool = False
    timeout_s: float = 2.0
    interval_s: float = 1.0


@dataclass
class CloudAccess:
    """How a source shows the cloud who it is: as the transport does, unless told otherwise.

    Attributes:
        token_env, token_file: environment variable or file with the cloud's bearer token.
        tls_ca: file with the CA of an https:// cloud; null trusts the system's.
        tls_cert, tls_key: files with a client's certificate and key, where the cloud asks for one.
    """

    token_env: str | None = "${oc.select:transport.token_env,null}"  # noqa: S105 - a name
    token_file: str | None = "${oc.select:transport.token_file,null}"  # noqa: S105 - a name
    tls_ca: str | None = "${oc.select:transport.tls_ca,null}"
    tls_cert: str | None = "${oc.select:transport.tls_cert,null}"
    tls_key: str | None = "${oc.select:transport.tls_key,null}"


@dataclass
class HttpPingConfig(CloudAccess):
    """Round trip as `GET /health` on a kept-alive connection: about 1 ms over ICMP, and sees proxies as requests do.

    It takes 30 kB a minute for each sample.

    Attributes:
        url: the cloud.
        samples: requests per read; the smallest counts.
        timeout_s: each request must be answered after this long.
    """

    url: str = "${cloud_url}"
    samples: int = 3
    timeout_s: float = 2.0
    interval_s: float = 1.0


@dataclass
class BandwidthProbeConfig(CloudAccess):
    """Bandwidth by a timed upload to the cloud's probe endpoint, while the sources before it do not tell.

    Costs traffic: `probe_bytes * 60 / interval_s` a minute, 1.2 MB by default; on standby nothing while requests tell.

    Attributes:
        url: the cloud.
        probe_bytes: size of the upload; too small for a fast link gives a lower bound.
        timeout_s: the upload must be done after this long.
        standby: after a first upload, make one only while no source before it gives a bandwidth that is not past half
            of its life (with passive_bandwidth: while no request told for 7.5 s), and none during a request.
        slow_start: whether TCP starts slowly after a pause, which is then taken off; `auto` asks this host.
    """

    url: str = "${cloud_url}"
    probe_bytes: int = 200_000
    timeout_s: float = 10.0
    standby: bool = True
    slow_start: SlowStart = "${oc.select:slow_start,auto}"  # type: ignore[assignment]
    interval_s: float = 10.0


@dataclass
class PassiveBandwidthConfig:
    """Bandwidth from the requests themselves, without uploads of its own; silent while nothing is sent.

    It sends nothing where another source gives the ping; else 25 kB a minute for connects while requests go.

    Alone it cannot begin with `engine.fallback=edge`: without a bandwidth nothing is sent, and without requests there
    is no bandwidth. Put `bandwidth_probe` behind it, which also sees a slow link recover once the planner has moved
    all to the edge, or use `engine.fallback=cloud`.

    Attributes:
        url: the cloud; a TCP connect there gives the round trip where neither small exchanges nor another source do.
            null: none is made, and the kernel's shortest counts.
        min_bytes: exchanges smaller than this say nothing about bandwidth.
        small_bytes: exchanges up to this size say what the round trip is.
        rtt_ms: round trip to take off; null takes the shortest small exchange, else telemetry's ping.
        window: how many of the last exchanges count at most.
        enough_s: seconds of transfer, the newest first, that suffice; older exchanges then do not count.
        estimate: how they become one figure.
        slow_start: whether TCP starts slowly after a pause, which is then taken off; `auto` asks this host.
        forget_s: exchanges older than this no longer count, and a figure older than this gives way to the next source.
    """

    url: str | None = "${cloud_url}"
    min_bytes: int = 20_000
    small_bytes: int = 4_096
    rtt_ms: float | None = None
    window: int = 5
    enough_s: float = 0.5
    slow_start: SlowStart = "${oc.select:slow_start,auto}"  # type: ignore[assignment]
    estimate: Estimate = Estimate.median
    forget_s: float = 15.0
    interval_s: float = 1.0
