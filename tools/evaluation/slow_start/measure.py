"""Sends requests over one TCP connection with and without a pause before them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from evaluation.beds import open_site, settle
from evaluation.policies import OfflinePolicies, observation_of, rows_by_cut
from evaluation.rows import Rows, print_progress
from evaluation.site import MAX_CLOCK_MHZ, Conditions
from evaluation.slow_start.report import SETTINGS, evaluation
from midcut.config.settings import CutSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evaluation.options import Options
    from evaluation.site import Site
    from midcut.planning.policy import Policy
    from midcut.types import CutTable

MODEL: Final = "alexnet"
PAUSE_S: Final = 2.0
LINKS = (
    Conditions(clock_mhz=MAX_CLOCK_MHZ, bandwidth_kbps=10_000, ping_ms=50),
    Conditions(clock_mhz=MAX_CLOCK_MHZ, bandwidth_kbps=20_000, ping_ms=150),
    Conditions(clock_mhz=MAX_CLOCK_MHZ, bandwidth_kbps=10_000, ping_ms=5),
)
PAYLOADS: Final = (30_000, 200_000)
CUTS, REPEATS = 3, 5


def run(options: Options) -> None:
    """Cuts of 30 to 200 kB at three links, after two seconds without a request and at once, in turn."""
    with (
        Rows(options.out / "slow_start" / "rows.jsonl", evaluation) as rows,
        open_site(options, MODEL, w=0.0, slow_start_after_idle=True) as (site, rows.bed),
    ):
        offline = OfflinePolicies.of(site)
        policies = {
            setting: offline.policy(CutSettings(), "policy=default", f"predictor.link.slow_start={setting}")
            for setting in SETTINGS
        }
        for link in LINKS[:1] if options.quick else LINKS:
            _measure_link(site, options, link, policies, rows)


def cuts_by_payload(table: CutTable, offered: set[int]) -> list[int]:
    """A few cuts of different payloads, smallest first; of equal payloads the first cut."""
    low, high = PAYLOADS
    sizes = {
        cut.payload_bytes: cut.index
        for cut in reversed(table.cuts)
        if cut.index in offered and cut.index != table.last and low <= cut.payload_bytes <= high
    }
    return [sizes[size] for size in sorted(sizes)][:CUTS]


def _measure_link(site: Site, options: Options, link: Conditions, policies: Mapping[str, Policy], rows: Rows) -> None:
    site.set(link)
    observation = settle(site, options).observation
    forecasts = {
        setting: rows_by_cut(policy.forecast(observation_of(observation))) for setting, policy in policies.items()
    }
    table = site.profile().table
    cuts = cuts_by_payload(table, {row["cut"] for row in site.decision_with_forecast()["forecast"]})
    name = f"{link.bandwidth_kbps / 1e3:g} Mbit/s, {link.ping_ms:g} ms"
    for cut in cuts:
        rows.add(
            kind="predicted",
            link=name,
            asked=cut,
            payload_bytes=table.cuts[cut].payload_bytes,
            observation={field: observation[field] for field in vars(link)},
            **{setting: forecast[cut]["link_s"] for setting, forecast in forecasts.items()},
        )
    for _ in range(2 if options.quick else REPEATS):
        for cut in cuts:
            time.sleep(PAUSE_S)
            rows.ask(site, cut, kind="paused", link=name)
            rows.ask(site, cut, kind="warm", link=name)
    print_progress(f"slow_start: {name}: cuts {', '.join(map(str, cuts))}")
