"""Links and clocks drawn by a seed, and the cuts that are worth measuring at each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from bed.links import PAYLOAD_SHARE

from evaluation.site import MAX_CLOCK_MHZ, MIN_CLOCK_MHZ, Conditions
from evaluation.statistics import spread_out

if TYPE_CHECKING:
    from collections.abc import Collection

    from midcut.types import Forecast

BANDWIDTH_MBPS = {"vgg16": (5.0, 50.0)}
ANY_BANDWIDTH_MBPS = (2.0, 50.0)
PING_MS = (5.0, 100.0)
TOO_SLOW = 2.0
LONGEST_WIRE_S = 1.5  # of a cut that is measured only to have enough of them


def draw(model: str, count: int, seed: int) -> list[Conditions]:
    """Points of a model: bandwidth and ping uniform in the logarithm, the clock uniform."""
    generator = np.random.default_rng([seed, *model.encode()])
    low, high = BANDWIDTH_MBPS.get(model, ANY_BANDWIDTH_MBPS)
    drawn = []
    for _ in range(count):
        mbps, ping_ms = (math.exp(generator.uniform(math.log(a), math.log(b))) for a, b in ((low, high), PING_MS))
        share = generator.uniform(MIN_CLOCK_MHZ / MAX_CLOCK_MHZ, 1.0)
        drawn.append(
            Conditions(
                clock_mhz=float(round(share * MAX_CLOCK_MHZ)),
                bandwidth_kbps=float(round(mbps * 1000)),
                ping_ms=round(ping_ms, 1),
            )
        )
    return drawn


def choose_cuts(
    forecast: Forecast, conditions: Conditions, count: int, picked: Collection[int]
) -> tuple[list[int], list[int]]:
    """The cuts to measure, and those left out since no policy should pick them.

    Both ends and all picks are measured. A cut whose bytes alone take twice as long as the better end is left out,
    unless there are fewer than `count` without it and its bytes take no longer than `LONGEST_WIRE_S`.

    Args:
        forecast: of all legal cuts, by the default policy.
        count: how many cuts, evenly over the positions; picks come on top.

    Returns:
        measured, left out; both ascending.
    """
    cuts = [int(cut) for cut in forecast.placements.cut]
    wire = forecast.placements.request_bytes * 8 / 1000 / (conditions.bandwidth_kbps * PAYLOAD_SHARE)
    wire_s = dict(zip(cuts, wire.tolist(), strict=True))
    ends = {cuts[0], cuts[-1]}
    limit_s = TOO_SLOW * min(float(forecast.latency_s[0]), float(forecast.latency_s[-1]))
    sensible = [cut for cut in cuts if wire_s[cut] <= limit_s or cut in ends]
    others = sorted(
        (cut for cut in cuts if cut not in sensible and wire_s[cut] <= LONGEST_WIRE_S), key=wire_s.__getitem__
    )
    offered = sorted([*sensible, *others[: max(0, count - len(sensible))]])
    measured = sorted({*spread_out(offered, count), *picked})
    return measured, [cut for cut in cuts if cut not in sensible and cut not in measured]
