"""What a pause costs on a real TCP connection, and whether the link predictor's slow-start term says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from evaluation.beds import TOP_MHZ, opened, settle
from evaluation.policies import Offline, observed
from evaluation.policies import rows as by_cut
from evaluation.rows import Rows, say
from evaluation.site import Conditions
from evaluation.slow_start import report as pauses
from midcut.config.settings import CutSettings
from midcut.results.evaluation import write_evaluation

if TYPE_CHECKING:
    from pathlib import Path

    from evaluation.options import Options
    from evaluation.site import Site
    from midcut.planning.policy import Policy
    from midcut.types import CutTable

MODEL: Final = "alexnet"
PAUSE_S: Final = 2.0
LINKS = (
    Conditions(clock_mhz=TOP_MHZ, bandwidth_kbps=10_000, ping_ms=50),
    Conditions(clock_mhz=TOP_MHZ, bandwidth_kbps=20_000, ping_ms=150),
    Conditions(clock_mhz=TOP_MHZ, bandwidth_kbps=10_000, ping_ms=5),
)
PAYLOADS: Final = (30_000, 200_000)
CUTS, TIMES = 3, 5


def run(options: Options) -> Path:
    """Cuts of 30 to 200 kB at three links, after two seconds of nothing and without a pause, in turn."""
    folder = options.out / "slow_start"
    described: dict[str, Any] = {}
    with Rows(folder) as rows:
        try:
            with opened(options, MODEL, w=0.0, slow_start_after_idle=True) as site:
                described = site.describe()
                offline = Offline.of(site)
                ways = {
                    way: offline.policy(CutSettings(), "policy=default", f"predictor.link.slow_start={way}")
                    for way in pauses.WAYS
                }
                for link in LINKS[:1] if options.quick else LINKS:
                    _link(site, options, link, ways, rows)
        finally:
            if any("cut" in row for row in rows.all):
                write_evaluation(folder, pauses.evaluation(rows.all, described))
    return folder


def telling_cuts(table: CutTable, offered: set[int]) -> list[int]:
    """A few cuts between which the payload varies, smallest first; of equal payloads the first cut."""
    low, high = PAYLOADS
    sizes = {
        cut.payload_bytes: cut.index
        for cut in reversed(table.cuts)
        if cut.index in offered and cut.index != table.last and low <= cut.payload_bytes <= high
    }
    return [sizes[size] for size in sorted(sizes)][:CUTS]


def _link(site: Site, options: Options, link: Conditions, ways: dict[str, Policy], rows: Rows) -> None:
    site.set(link)
    observation = settle(site, options).observation
    forecasts = {way: by_cut(policy.forecast(observed(observation))) for way, policy in ways.items()}
    table = site.profile().table
    cuts = telling_cuts(table, {row["cut"] for row in site.planned()["forecast"]})
    name = f"{link.bandwidth_kbps / 1e3:g} Mbit/s, {link.ping_ms:g} ms"
    for cut in cuts:
        rows.add(
            kind="predicted",
            link=name,
            asked=cut,
            payload_bytes=table.cuts[cut].payload_bytes,
            observation={field: observation[field] for field in vars(link)},
            **{way: forecast[cut]["link_s"] for way, forecast in forecasts.items()},
        )
    for _ in range(2 if options.quick else TIMES):
        for cut in cuts:
            time.sleep(PAUSE_S)
            rows.ask(site, cut, kind="paused", link=name)
            rows.ask(site, cut, kind="warm", link=name)
    say(f"slow_start: {name}: cuts {', '.join(map(str, cuts))}")
