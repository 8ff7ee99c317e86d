"""Networks on three tiers, device, edge and cloud: seconds and money of a placement, alone and with others in queues.

A placement says the tier of every layer. Where two successive layers are on different tiers, what lies between them is
sent over one hop, or two. Two cuts (k1, k2) are the placements that never go back: layers before k1 on the device, up
to k2 on the edge, the rest in the cloud. (Lin et al. 2020, IEEE TII, has these tiers; its equations are not public.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midcut.types import Floats

DEVICE, EDGE, CLOUD = range(3)
TIERS = ("device", "edge", "cloud")


@dataclass(frozen=True)
class Tiers:
    """Prices of the tiers, and the hops between them.

    Attributes:
        usd_per_hour: of device, edge and cloud while they compute, shape (3,).
        bandwidth_kbps, ping_ms, usd_per_gb: of the hops device-edge and edge-cloud, each of shape (2,).
    """

    usd_per_hour: tuple[float, float, float]
    bandwidth_kbps: tuple[float, float]
    ping_ms: tuple[float, float] = (0.0, 0.0)
    usd_per_gb: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("usd_per_hour", "ping_ms", "usd_per_gb"):
            for value in getattr(self, name):
                if not 0.0 <= value < np.inf:
                    raise ConfigError(f"tiers: {name} must be finite numbers, 0 or more, got {value}")
        for value in self.bandwidth_kbps:
            if not 0.0 < value < np.inf:
                raise ConfigError(f"tiers: bandwidth_kbps must be finite numbers over 0, got {value}")

    def sending(self, size_bytes: float, start: int, stop: int) -> tuple[float, float]:
        """Seconds and US dollars of sending bytes from one tier to another, in either direction."""
        low, high = min(start, stop), max(start, stop)
        seconds = sum(
            size_bytes * 8e-3 / self.bandwidth_kbps[hop] + self.ping_ms[hop] / 1e3 for hop in range(low, high)
        )
        return seconds, sum(size_bytes / 1e9 * self.usd_per_gb[hop] for hop in range(low, high))


@dataclass(frozen=True)
class Application:
    """One network that is to be run once.

    Attributes:
        name: name of the application in tables.
        layer_s: seconds of every layer on each tier, shape (3, N).
        sent_bytes: size of each layer's input, and of the last layer's output, shape (N + 1,).
        deadline_s: seconds from the start until it must be done; infinity for no deadline.
    """

    name: str
    layer_s: Floats
    sent_bytes: Floats
    deadline_s: float = np.inf

    def __post_init__(self) -> None:
        if not self.deadline_s > 0.0:
            raise ConfigError(f"application {self.name!r}: deadline_s must be over 0, got {self.deadline_s}")

    @property
    def layers(self) -> int:
        """Number of layers, N."""
        return int(self.layer_s.shape[1])

    def cut_pairs(self) -> Iterator[tuple[int, int]]:
        """All pairs of cuts k1 <= k2."""
        return ((k1, k2) for k1 in range(self.layers + 1) for k2 in range(k1, self.layers + 1))

    def placement(self, k1: int, k2: int) -> tuple[int, ...]:
        """The tier of every layer for two cuts, length N.

        Raises:
            ConfigError: not 0 <= k1 <= k2 <= N.
        """
        if not 0 <= k1 <= k2 <= self.layers:
            raise ConfigError(f"application {self.name!r}: cuts must be 0 <= k1 <= k2 <= {self.layers}, got {k1}, {k2}")
        return (DEVICE,) * k1 + (EDGE,) * (k2 - k1) + (CLOUD,) * (self.layers - k2)


@dataclass(frozen=True)
class Visit:
    """A run of successive layers on one tier.

    Attributes:
        tier: number of the tier: 0 device, 1 edge, 2 cloud.
        sending_s: seconds until its input has arrived there.
        busy_s: seconds that its layers compute.
        usd: US dollars for sending and computing.
    """

    tier: int
    sending_s: float
    busy_s: float
    usd: float


def visits(application: Application, placement: Sequence[int], tiers: Tiers) -> list[Visit]:
    """The runs of layers of a placement, in order. The input is on the device."""
    found: list[Visit] = []
    before, first = DEVICE, 0
    while first < len(placement):
        tier, last = placement[first], first
        while last < len(placement) and placement[last] == tier:
            last += 1
        sending_s, usd = tiers.sending(float(application.sent_bytes[first]), before, tier)
        busy_s = float(application.layer_s[tier, first:last].sum())
        found.append(Visit(tier, sending_s, busy_s, usd + busy_s * tiers.usd_per_hour[tier] / 3600.0))
        before, first = tier, last
    return found


@dataclass(frozen=True)
class Outcome:
    """What a set of placements, one of each application, takes together.

    Attributes:
        end_s: when each application is done.
        usd: US dollars of all applications together.
        late_s: by how much deadlines are missed, in all.
    """

    end_s: tuple[float, ...]
    usd: float
    late_s: float = field(default=0.0)

    @property
    def rank(self) -> tuple[float, float]:
        """Smaller is better: first all deadlines are to be met, then money counts."""
        return self.late_s, self.usd

    @property
    def feasible(self) -> bool:
        return self.late_s == 0.0


TOLERANCE_S = 1e-12
"""A deadline that is missed by less is met: sums of seconds in another order differ by as much."""


def run_together(applications: Sequence[Application], placements: Sequence[Sequence[int]], tiers: Tiers) -> Outcome:
    """Run all applications from time 0, each on a device of its own, on one edge and one cloud.

    Edge and cloud serve whole visits in the order in which they arrive (first come, first served; of two that arrive
    together, the application that is listed first).
    """
    plans = [visits(*pair, tiers) for pair in zip(applications, placements, strict=True)]
    usd = sum(visit.usd for plan in plans for visit in plan)
    free_s = [0.0, 0.0, 0.0]
    done_s, step = [0.0] * len(plans), [0] * len(plans)
    while open_ones := [index for index, plan in enumerate(plans) if step[index] < len(plan)]:
        arrival_s, index = min((done_s[one] + plans[one][step[one]].sending_s, one) for one in open_ones)
        visit = plans[index][step[index]]
        start_s = arrival_s if visit.tier == DEVICE else max(arrival_s, free_s[visit.tier])
        done_s[index] = free_s[visit.tier] = start_s + visit.busy_s
        step[index] += 1
    late_s = sum(
        max(end_s - application.deadline_s, 0.0)
        for end_s, application in zip(done_s, applications, strict=True)
        if end_s > application.deadline_s + TOLERANCE_S
    )
    return Outcome(tuple(done_s), usd, late_s)
