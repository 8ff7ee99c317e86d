"""Settings of the objectives. Light: no numpy."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class EnergyConfig:
    """Energy of the edge for one inference (Kang et al. 2017, Neurosurgeon, ASPLOS), joules.

    Computation takes `busy_w`, the radio what its power model says for the bytes sent and received; what else the edge
    does while it waits for the reply takes `wait_w`, and the radio's tail after an exchange takes `tail_w`.

    Attributes:
        radio: `wifi`, `lte` or `3g`, with the power models of Huang et al. (2012, MobiSys); `none` is a wire, whose
            bytes take no energy.
        busy_w: power while the edge computes, watts; of several clocks a list, in the order of `clocks_mhz`.
        clocks_mhz: clocks of `busy_w`, ascending; between them power is interpolated. Empty for a single `busy_w`.
        profile: take `busy_w` and `clocks_mhz` from the power measured in this profile instead
            (`midcut profile power=true`): a file, a folder of profiles, or a shipped device. null does not.
        wait_w: power while the edge waits for link and cloud, watts; Kang et al. leave it out.
        tail_s, tail_w: how long the radio stays on after an exchange, and at which power (LTE: 11.576 s, about 1.06 W).
            Where requests follow sooner, the tail lasts for the pause between them.
        downlink_kbps: bandwidth of the reply, kbit/s; null is the observed bandwidth.
    """

    radio: str = "wifi"
    busy_w: list[float] = field(default_factory=lambda: [5.0])
    clocks_mhz: list[float] = field(default_factory=list)
    profile: str | None = None
    wait_w: float = 0.0
    tail_s: float = 0.0
    tail_w: float = 0.0
    downlink_kbps: float | None = None


@dataclass
class SharingConfig(EnergyConfig):
    """What one of many users of a cloud weighs: delay, energy, and a price that rises with the load of all.

    The other settings are those of `energy`, which counts where it has a weight.

    Attributes:
        rate_hz: requests a second; null takes the observed field `rate_hz`, or counts at a running edge.
        time_weight, energy_weight, price_weight: of a second, of a joule, and of a US dollar an hour.
        window_s: how long the past counts for this edge's own load: the cloud's `price.window_s`.
    """

    rate_hz: float | None = "${oc.select:input.rate_hz,null}"  # type: ignore[assignment]
    time_weight: float = 1.0
    energy_weight: float = 0.0
    price_weight: float = 1.0
    window_s: float = 5.0


@dataclass
class PeriodConfig:
    """Seconds of the slowest part of an inference when requests overlap (Hu et al. 2019, DADS, INFOCOM).

    The largest of edge, transfer and cloud: a stream of requests cannot go faster. The ping is left out, as it does not
    occupy the link. It has no settings.
    """
