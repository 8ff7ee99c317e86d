"""Settings of the predictors. Light: no numpy.

By default `profile` is the top-level `edge_profile` or `cloud_profile`.
"""

from __future__ import annotations

from dataclasses import dataclass

from midcut.terms import Normalisation, SlowStart


@dataclass
class PowerLawConfig:
    """Edge latency by a power law of the clock, linear in the layer (Eq. 1 and 2).

    Attributes:
        fit: a file made by `midcut fit`, or the name of a shipped device.
        normalisation: which law of the fit: `minmax` is the paper's; `loglog` has one per model and fits best.
        a, b: the curve a * clock_mhz ** b instead of the fit's; both or none.
        upper, lower: the model's bounds, seconds per layer, instead of the fit's; both or none.
    """

    fit: str = "pi4"
    normalisation: Normalisation = Normalisation.minmax
    a: float | None = None
    b: float | None = None
    upper: float | None = None
    lower: float | None = None


@dataclass
class EdgeProfileConfig:
    """Edge latency from measured seconds per node and a clock law for each.

    Attributes:
        profile: a profile file, a folder of profiles, or the name of a shipped device.
        match_whole: scale the nodes of a run so that they add up to the time measured for the whole network, which
            has no timer around each node.
    """

    profile: str = "${edge_profile}"
    match_whole: bool = True


@dataclass
class EdgeLayersConfig:
    """Edge latency from what each node computes, for models that were never profiled on this machine.

    Attributes:
        fit: a file made by `midcut fit what=layers`, or the name of a shipped device.
    """

    fit: str = "pi4"


@dataclass
class CloudLayersConfig:
    """Cloud latency from what each node computes, for models that were never profiled on that machine.

    Attributes:
        fit: a file made by `midcut fit what=layers`, or the name of a shipped device.
        load: how much longer the busy cloud takes: 0.5 is half as long again. Where telemetry gives `cloud_load`, that
            counts.
    """

    fit: str = "cloud"
    load: float = 0.0


@dataclass
class CloudLinearConfig:
    """Cloud latency linear in the remaining layers, without a clock (section 3.1).

    Attributes:
        profile: source of the slope: a profile file, a folder of profiles, or the name of a shipped device.
        slope_s: seconds per layer, instead of the profile's.
    """

    profile: str = "${cloud_profile}"
    slope_s: float | None = None


@dataclass
class CloudProfileConfig:
    """Cloud latency from measured seconds per node.

    Attributes:
        profile: a profile file, a folder of profiles, or the name of a shipped device; of several clocks the highest is
            used.
        match_whole: scale the nodes so that they add up to the time measured for the whole network.
    """

    profile: str = "${cloud_profile}"
    match_whole: bool = True


@dataclass
class Eq3Config:
    """Link latency as the paper prints it: the unencoded payload at the bandwidth, and half a ping (Eq. 3).

    Attributes:
        all_edge_pays_link: whether at the last cut the output is sent to the cloud, as the equation assumes.
    """

    all_edge_pays_link: bool = True


@dataclass
class RoundTripConfig:
    """Link latency of the bytes really sent: request, reply, their headers, and a whole ping; 0 if nothing is sent.

    Attributes:
        downlink_kbps: bandwidth of the reply, kbit/s; null is the observed bandwidth.
        overhead_s: additional seconds per request; the codec's seconds are included already.
        slow_start: whether TCP's slow start delays requests. It delays the first request on a connection, and the
            first one after a pause. `auto` depends on the observed pause between requests (under 0.3 s there is no
            slow start), and is off where this host's TCP has none after a pause: net.ipv4.tcp_slow_start_after_idle
            is 0, or the congestion control is BBR. `always` assumes a long pause before every request.
        initial_window: segments of 1448 bytes that TCP sends before the first acknowledgement.
    """

    downlink_kbps: float | None = None
    overhead_s: float = 0.0
    slow_start: SlowStart = "${oc.select:slow_start,never}"  # type: ignore[assignment]
    initial_window: int = 10
