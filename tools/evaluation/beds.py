"""Beds for the experiments: which one suits a model, what it obtains of what is asked of it, and a site on it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bed import Bed, BedOptions, Plan
from bed.calibration import LIMIT, measure, require_within

from evaluation.options import NATIVE
from evaluation.site import MAX_CLOCK_MHZ, MIN_CLOCK_MHZ, Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bed import Row

    from evaluation.options import Options
    from evaluation.site import Settled

CORE_MHZ = {"vgg16": 1500.0}
"""The clock that the full speed of this machine's core counts as, by model. For the others it is `CORE_TIMES` times
`MAX_CLOCK_MHZ`, so that the edge is 4 to 10 times slower than the cloud: were both equally fast, nearly every cut would
be worse than edge only. VGG16 would then take seconds a request, and its best cut varies even at equal speed."""
CORE_TIMES = 4.0
LEAST_SHARE = 0.2
"""A control group gives less of a core than this only roughly: asked for 25, 16 and 10 %, a busy machine gave 22, 30,
and 8 %. Below it, and for models that are quicker than a quota, each run is stretched by the edge itself."""
SHORT_MODELS = ("mnist", "mobilenet_v2")
SETTLE_S, QUICK_SETTLE_S = 20.0, 6.0
SETTLE_BYTES = 30_000


def core_mhz(options: Options, model: str) -> float:
    """The clock that a model's bed calls full speed: the one asked for, else what suits the model."""
    return options.core_mhz or CORE_MHZ.get(model, CORE_TIMES * MAX_CLOCK_MHZ)


def clock_kind(options: Options, model: str, full_mhz: float) -> str:
    """The bed's clock: the one asked for, else one that is accurate at `MIN_CLOCK_MHZ`."""
    if options.clock != "auto":
        return options.clock
    return "cooperative" if model in SHORT_MODELS or MIN_CLOCK_MHZ / full_mhz < LEAST_SHARE else "auto"


@contextmanager
def open_bed(
    options: Options, model: str, full_mhz: float, *, slow_start_after_idle: bool = False
) -> Iterator[tuple[Bed, dict[str, Any]]]:
    """A bed that suits a model, with its description: it ends with the block.

    Unless the experiment is a quick one, the bed is measured before anything is measured on it, and the description
    has what it obtains of what is asked of it.

    Raises:
        BedError: it is off by more than 3 %, twice, and `options.off_bed` does not allow that.
    """
    bed_options = BedOptions(
        link=options.link,
        clock=clock_kind(options, model, full_mhz),
        max_clock_mhz=full_mhz,
        slow_start_after_idle=slow_start_after_idle,
        seed=options.seed,
    )
    with Bed(bed_options) as bed:
        description = bed.describe()
        if not options.quick:
            description["calibration"] = [row.fields() for row in _calibration(bed, strict=not options.off_bed)]
        yield bed, description


def _calibration(bed: Bed, *, strict: bool) -> list[Row]:
    """What the bed obtains of links as the experiments set them, and of three shares of its core."""
    clocks_mhz = (MIN_CLOCK_MHZ, MAX_CLOCK_MHZ, (MIN_CLOCK_MHZ + MAX_CLOCK_MHZ) / 2)
    shares = [clock_mhz / bed.clock.max_mhz for clock_mhz in clocks_mhz]
    plan = Plan((2_000, 10_000, 50_000), (5, 20, 100), shares, body_s=0.4, bodies=5, pings=15, works=5)
    rows = measure(bed, plan)
    if strict and not all(row.within() for row in rows):
        rows = measure(bed, plan)
        require_within(rows, LIMIT)
    return rows


def site_on(bed: Bed, options: Options, model: str, overrides: Sequence[str] = (), *, w: float) -> Site:
    """A site on a bed. Experiments share profiles: not those of another core or executor, or of fewer repeats."""
    repeats = 5 if options.quick else 20
    name = f"core-{bed.options.max_clock_mhz:g}-repeats-{repeats}"
    if options.executor != NATIVE:
        name += f"-both-{options.executor}"
    folder = options.out / "sites" / name
    return Site(bed, folder, model, overrides, w=w, repeats=repeats, seed=options.seed, executor=options.executor)


@contextmanager
def open_site(
    options: Options,
    model: str,
    overrides: Sequence[str] = (),
    *,
    w: float,
    full_mhz: float | None = None,
    slow_start_after_idle: bool = False,
) -> Iterator[tuple[Site, dict[str, Any]]]:
    """A bed of its own and a site for a model on it, with the bed's description; both end with the block.

    Args:
        overrides: for `midcut edge`.
        w: the planner's weight.
        full_mhz: the clock that the core's own speed is called; None for the options' or the model's usual one.
        slow_start_after_idle: whether TCP on the bed starts slowly after a pause.
    """
    full_mhz = core_mhz(options, model) if full_mhz is None else full_mhz
    with (
        open_bed(options, model, full_mhz, slow_start_after_idle=slow_start_after_idle) as (bed, description),
        site_on(bed, options, model, overrides, w=w) as site,
    ):
        yield site, description


def settle(site: Site, options: Options) -> Settled:
    """Wait until telemetry shows what was set; not as long in a quick experiment."""
    return site.settle(QUICK_SETTLE_S if options.quick else SETTLE_S, cut=_settling_cut(site))


def _settling_cut(site: Site) -> int:
    """The cut to settle at: it sends enough to measure a bandwidth by, and little beyond that."""
    table = site.profile().table
    offered = {row["cut"] for row in site.decision().get("forecast", ())} or {0}
    payload_bytes = {cut.index: cut.payload_bytes for cut in table.cuts if cut.index in offered - {table.last}}
    enough = [cut for cut, size in payload_bytes.items() if size >= SETTLE_BYTES]
    return min(enough or payload_bytes, key=lambda cut: (payload_bytes[cut], cut))
