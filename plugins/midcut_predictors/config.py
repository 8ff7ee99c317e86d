"""Knobs of the predictors. Light: no numpy.

`profile` is the top-level `edge_profile` or `cloud_profile` unless one predictor is told otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from midcut.terms import Normalisation, SlowStart


@dataclass
class PowerLawConfig:
    """Edge latency by a power law of the clock, linear in the layer (Eq. 1 and 2).

    Attributes:
        fit: a file made by `midcut fit`, or a shipped device.
        normalisation: which of its laws: `minmax` is the paper's; `loglog` has a law per model and is the closest.
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
        profile: a profile file, a folder of profiles, or a shipped device.
        match_whole: scale a run's nodes so that they add up to the measured whole; what a timer around
            every node costs is then not predicted.
    """

    profile: str = "${edge_profile}"
    match_whole: bool = True


@dataclass
class CloudLinearConfig:
    """Cloud latency linear in the layers left; no clock (section 3.1).

    Attributes:
        profile: where the slope comes from: a profile file, a folder of profiles, or a shipped device.
        slope_s: seconds per layer instead.
    """

    profile: str = "${cloud_profile}"
    slope_s: float | None = None


@dataclass
class CloudProfileConfig:
    """Cloud latency from measured seconds per node.

    Attributes:
        profile: a profile file, a folder of profiles, or a shipped device; of several clocks the highest counts.
        match_whole: scale the nodes so that they add up to the measured whole.
    """

    profile: str = "${cloud_profile}"
    match_whole: bool = True


@dataclass
class Eq3Config:
    """Link latency as printed: the bare payload at the bandwidth, and half a ping (Eq. 3).

    Attributes:
        all_edge_pays_link: whether the last cut ships its output to the cloud, as the equation has it.
    """

    all_edge_pays_link: bool = True


@dataclass
class RoundTripConfig:
    """Link latency of what is really sent: request, reply, both headers and a whole ping; nothing if nothing is sent.

    Attributes:
        downlink_kbps: bandwidth of the reply, kbit/s; null is the observed bandwidth.
        overhead_s: seconds per request beyond that and what the codec takes.
        slow_start: whether a request waits while TCP opens its window, as the first on a connection does, and on a
            kept one each after a pause. `auto` goes by how long requests pause (not at all under 0.3 s), unless this
            host's TCP does not do so: net.ipv4.tcp_slow_start_after_idle is 0, or the congestion control is BBR.
            `always` takes every request for one after a long pause.
        initial_window: segments of 1448 bytes that are sent before the first acknowledgement.
    """

    downlink_kbps: float | None = None
    overhead_s: float = 0.0
    slow_start: SlowStart = "${oc.select:slow_start,never}"  # type: ignore[assignment]
    initial_window: int = 10
