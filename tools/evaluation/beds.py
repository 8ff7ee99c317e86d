"""A bed with one model on it, for the experiments that look at how midcut behaves over time."""

from __future__ import annotations

import http.client
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bed import Bed, BedOptions

from evaluation.calibrating import calibrated, plan
from evaluation.site import CLOCKS_MHZ, EDGE_PORT, Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from evaluation.options import Options
    from evaluation.site import Settled

LOW_MHZ, TOP_MHZ = CLOCKS_MHZ[0], CLOCKS_MHZ[-1]
"""What the edge is said to run at, as a Raspberry Pi 4 does."""
CORE_MHZ = {"vgg16": 1500.0}
"""What the speed of the machine's own core is called, by model. The others: four times `TOP_MHZ`, so that the edge is 4
to 10 times slower than the cloud. Were both equally fast, nearly everything would be fastest on the edge. VGG16 would
then take seconds a request, and has a choice to make already where the edge is as fast as the cloud."""
LEAST_SHARE = 0.2
"""A control group gives less of a core than this only roughly: asked for 25, 16 and 10 %, a busy machine gave 22, 30,
and 8 %. Below it, and for models that are quicker than a quota, each run is stretched by the edge itself."""
SETTLE_S, QUICK_SETTLE_S = 20.0, 6.0
QUICKER = ("mnist", "mobilenet_v2")
SITES = "sites"
_SLOWER = 4.0
_TELLING_BYTES = 30_000


def core_mhz(options: Options, model: str) -> float:
    """The clock that a model's bed calls full speed: the one asked for, else what suits the model."""
    return options.core_mhz or CORE_MHZ.get(model, _SLOWER * TOP_MHZ)


def repeats(options: Options) -> int:
    """Of the profiles."""
    return 5 if options.quick else 20


def site_folder(options: Options, full_mhz: float) -> Path:
    """Where a site keeps its profiles: those of another core, or of fewer repeats, are others."""
    return options.out / SITES / f"core-{full_mhz:g}-repeats-{repeats(options)}"


def clock_kind(asked: str, model: str, full_mhz: float) -> str:
    """The bed's clock: the one asked for, else one that is right at `LOW_MHZ`."""
    if asked != "auto":
        return asked
    return "cooperative" if model in QUICKER or LOW_MHZ / full_mhz < LEAST_SHARE else "auto"


@contextmanager
def opened(
    options: Options,
    model: str,
    overrides: Sequence[str] = (),
    *,
    w: float | None = None,
    full_mhz: float | None = None,
    slow_start_after_idle: bool = False,
) -> Iterator[Site]:
    """A bed of its own and a site for a model on it; both end with the block.

    Args:
        overrides: for `midcut edge`.
        w: the planner's weight; None for the options'.
        full_mhz: the clock that the core's own speed is called; None for the options' or the model's usual one.
        slow_start_after_idle: what TCP does in the bed after a pause.

    Raises:
        BedError: the bed is off by more than 3 %, and nothing was said of `off_bed`.
    """
    full_mhz = core_mhz(options, model) if full_mhz is None else full_mhz
    bed_options = BedOptions(
        link=options.link,
        clock=clock_kind(options.clock, model, full_mhz),
        max_clock_mhz=full_mhz,
        slow_start_after_idle=slow_start_after_idle,
        seed=options.seed,
    )
    with Bed(bed_options) as bed:
        rows = [] if options.quick else calibrated(bed, plan(full_mhz), strict=not options.off_bed)
        with Site(
            bed,
            site_folder(options, full_mhz),
            model,
            overrides,
            w=options.w if w is None else w,
            max_clock_mhz=full_mhz,
            repeats=repeats(options),
            seed=options.seed,
            calibration=rows,
        ) as site:
            yield site


def counted(site: Site, name: str) -> float:
    """A counter at the edge's `/metrics`; 0 where it has counted nothing yet."""
    connection = http.client.HTTPConnection("edge", timeout=30)
    connection.sock = site.bed.edge.connect(EDGE_PORT)
    try:
        connection.request("GET", "/metrics")
        with connection.getresponse() as response:
            lines = response.read().decode().splitlines()
    finally:
        connection.close()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def settle(site: Site, options: Options) -> Settled:
    """Wait until telemetry shows what was set; shorter where the whole is to be."""
    return site.settle(QUICK_SETTLE_S if options.quick else SETTLE_S, cut=settling_cut(site))


def settling_cut(site: Site) -> int:
    """A cut to ask at while telemetry catches up: it sends enough to tell a bandwidth, and little beyond that."""
    table = site.profile().table
    offered = {row["cut"] for row in site.decision().get("forecast", ())} or {0}
    payload_bytes = {cut.index: cut.payload_bytes for cut in table.cuts if cut.index in offered - {table.last}}
    enough = [cut for cut, size in payload_bytes.items() if size >= _TELLING_BYTES]
    return min(enough or payload_bytes, key=lambda cut: (payload_bytes[cut], cut))
