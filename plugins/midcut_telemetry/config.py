"""Settings of the telemetry sources. `interval_s` is in all of them the time between two reads, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from midcut.terms import SlowStart


class Aggregate(Enum):
    """How one clock is made of the clocks of several cores."""

    max = "max"
    mean = "mean"
    min = "min"


class Estimate(Enum):
    """How one bandwidth is made of the last transfers."""

    decay = "decay"
    median = "median"
    ewma = "ewma"


@dataclass
class ConstantConfig:
    """Numbers that do not change.

    Attributes:
        clock_mhz: edge clock, MHz; null (here and below) leaves the field to the other sources.
        bandwidth_kbps: edge to cloud, kbit/s.
        ping_ms: round trip, ms.
        others: further fields by name, e.g. `{cloud_load: 0.5}`; `midcut plugins --kind telemetry` lists them.
    """

    clock_mhz: float | None = 1500.0
    bandwidth_kbps: float | None = 10000.0
    ping_ms: float | None = 20.0
    others: dict[str, float] = field(default_factory=dict)
    interval_s: float = 1.0


@dataclass
class ReplayConfig:
    """A recorded trace, played against the wall clock.

    Attributes:
        path: CSV or JSON with `time_s` and any fields, e.g. `clock_mhz`, `bandwidth_kbps`, `ping_ms`, `power_w`.
        speed: 2 plays twice as fast.
        loop: start again at the end; otherwise the last row holds.
        epoch_s: when the trace starts, seconds since the epoch; null is at program start.
    """

    path: str = MISSING
    speed: float = 1.0
    loop: bool = False
    epoch_s: float | None = None
    interval_s: float = 1.0


@dataclass
class CpufreqConfig:
    """The clock that the kernel's cpufreq requests (on a Raspberry Pi the real one may be lower: see `vcgencmd`).

    Attributes:
        root: folder that contains `sys` and `proc`.
        aggregate: how one clock is made of those of all cores.
        core: number of the only core to report; null takes all.
    """

    root: str = "/"
    aggregate: Aggregate = Aggregate.max
    core: int | None = None
    interval_s: float = 1.0


@dataclass
class VcgencmdConfig:
    """The real clock of a Raspberry Pi, from its firmware; throttling flags are logged when they change.

    Attributes:
        command: the program, by name or path.
        optional: give no clock, instead of an error, where the program is not installed.
        timeout_s: limit for one run of the program, seconds.
    """

    command: str = "vcgencmd"
    optional: bool = False
    timeout_s: float = 2.0
    interval_s: float = 1.0


@dataclass
class RaplConfig:
    """Power of Intel and AMD processors, from energy counters that only root may read.

    Attributes:
        root: folder that contains `sys`.
    """

    root: str = "/"
    interval_s: float = 1.0


@dataclass
class HwmonConfig:
    """Power from the kernel's sensors: of chips that measure it, or voltage and current, as an INA3221 does.

    Attributes:
        root: folder that contains `sys`.
        chip: only chips of this name, e.g. ina3221; empty takes the first that measures power.
        channel: only this label, e.g. VDD_IN; empty takes the whole board's where there is one, else the sum.
    """

    root: str = "/"
    chip: str = ""
    channel: str = ""
    interval_s: float = 1.0


@dataclass
class PmicConfig:
    """Power of a Raspberry Pi 5, from its power converter; earlier boards sense no current.

    Attributes:
        command: the program, by name or path.
        timeout_s: limit for one run of the program, seconds.
    """

    command: str = "vcgencmd"
    timeout_s: float = 2.0
    interval_s: float = 1.0


@dataclass
class NvmlConfig:
    """Power of an NVIDIA GPU, from its energy counter. Needs the extra `nvml`.

    Attributes:
        device: number of the GPU.
    """

    device: int = 0
    interval_s: float = 1.0


@dataclass
class TcpPingConfig:
    """Round trip of a TCP connect; a refused connection counts too. Needs no privileges.

    Sends 25 kB a minute for each sample.

    Attributes:
        url: address of the cloud.
        samples: connects per read; the smallest counts.
        timeout_s: limit for each connect, seconds.
    """

    url: str = "${cloud_url}"
    samples: int = 3
    timeout_s: float = 2.0
    interval_s: float = 1.0


@dataclass
class IcmpPingConfig:
    """Round trip by ICMP echo. Needs the extra `icmp`, and privileges.

    Sends 12 kB a minute for each sample.

    Attributes:
        url: address of the cloud.
        samples: echoes per read; the smallest counts.
        privileged: use raw sockets (root or CAP_NET_RAW); otherwise `net.ipv4.ping_group_range` must include a group of
            the user.
        timeout_s: limit for each echo, seconds.
    """

    url: str = "${cloud_url}"
    samples: int = 3
    privileged: bool = False
    timeout_s: float = 2.0
    interval_s: float = 1.0


@dataclass
class CloudAccess:
    """Credentials that a source shows to the cloud; by default those of the transport.

    Attributes:
        token_env, token_file: environment variable, or file, that contains the cloud's bearer token.
        tls_ca: file with the CA certificate of an https:// cloud; null trusts the system's CAs.
        tls_cert, tls_key: files with a client certificate and its key, where the cloud asks for one.
    """

    token_env: str | None = "${oc.select:transport.token_env,null}"  # noqa: S105 - a name
    token_file: str | None = "${oc.select:transport.token_file,null}"  # noqa: S105 - a name
    tls_ca: str | None = "${oc.select:transport.tls_ca,null}"
    tls_cert: str | None = "${oc.select:transport.tls_cert,null}"
    tls_key: str | None = "${oc.select:transport.tls_key,null}"


@dataclass
class ConditionsConfig(CloudAccess):
    """What the cloud observes, as far as it does: a relay's second bandwidth and ping, load, price; 15 kB a minute.

    Attributes:
        url: address of the cloud.
        timeout_s: for an answer.
    """

    url: str = "${cloud_url}"
    timeout_s: float = 2.0
    interval_s: float = 2.0


@dataclass
class HttpPingConfig(CloudAccess):
    """Round trip of `GET /health` on a keep-alive connection: about 1 ms more than ICMP.

    It goes through proxies as requests do. Sends 30 kB a minute for each sample.

    Attributes:
        url: address of the cloud.
        samples: requests per read; the smallest counts.
        timeout_s: limit for each request, seconds.
    """

    url: str = "${cloud_url}"
    samples: int = 3
    timeout_s: float = 2.0
    interval_s: float = 1.0


@dataclass
class BandwidthProbeConfig(CloudAccess):
    """Bandwidth by a timed upload to the cloud's probe endpoint, while the sources before it give no bandwidth.

    Sends `probe_bytes * 60 / interval_s` a minute, 1.2 MB by default; on standby nothing while another source works.

    Attributes:
        url: address of the cloud.
        probe_bytes: size of the upload; on a link too fast for it the result is a lower bound.
        timeout_s: limit for the upload, seconds.
        standby: after a first upload, upload again only while every bandwidth from the sources before it is older than
            half of its maximum age (with passive_bandwidth: 7.5 s after the last request), and never during a request.
        slow_start: whether TCP's slow start after a pause is corrected for; `auto` reads this host's TCP settings.
    """

    url: str = "${cloud_url}"
    probe_bytes: int = 200_000
    timeout_s: float = 10.0
    standby: bool = True
    slow_start: SlowStart = "${oc.select:slow_start,auto}"  # type: ignore[assignment]
    interval_s: float = 10.0


@dataclass
class PassiveBandwidthConfig:
    """Bandwidth measured on the requests themselves, without uploads of its own; gives no value while none are sent.

    Where another source measures ping it sends nothing, else 25 kB a minute for connects while requests are sent.

    Alone it cannot start with `engine.fallback=edge`: without a bandwidth no request is sent, and without requests
    there is no bandwidth. Put `bandwidth_probe` after it, which also notices that a slow link has recovered once the
    planner has moved everything to the edge, or use `engine.fallback=cloud`.

    Attributes:
        url: address of the cloud; a TCP connect to it gives the round trip where neither small exchanges nor another
            source do. null makes no connects and takes the kernel's shortest round trip.
        min_bytes: smaller exchanges do not count for the bandwidth.
        small_bytes: exchanges up to this size measure the round trip.
        rtt_ms: round trip to subtract, ms; null takes the shortest small exchange, else telemetry's ping.
        window: how many of the last exchanges count at most.
        enough_s: how many seconds of transfer are enough, newest first; older exchanges then do not count. Not for
            `decay`, whose weights fade.
        estimate: how one bandwidth is made of those that count: `decay` filters their logarithms; between exchanges
            it returns to the mean of the last minute, and it falls while one takes longer than it allows.
        slow_start: whether TCP's slow start after a pause is corrected for; `auto` reads this host's TCP settings.
        forget_s: exchanges older than this, in seconds, no longer count (with `decay`: give no value by themselves);
            a bandwidth older than this is replaced by the next source's.
    """

    url: str | None = "${cloud_url}"
    min_bytes: int = 16_000
    small_bytes: int = 4_096
    rtt_ms: float | None = None
    window: int = 60
    enough_s: float = 0.5
    slow_start: SlowStart = "${oc.select:slow_start,auto}"  # type: ignore[assignment]
    estimate: Estimate = Estimate.decay
    forget_s: float = 15.0
    interval_s: float = 1.0
