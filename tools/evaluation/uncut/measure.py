"""Sends requests at the cut in use, at the edge alone and in the cloud alone, in turn."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from evaluation.beds import open_site, settle
from evaluation.rows import Rows, print_progress
from evaluation.site import MAX_CLOCK_MHZ, MIN_CLOCK_MHZ, Conditions
from evaluation.uncut.report import evaluation

if TYPE_CHECKING:
    from evaluation.options import Options
    from evaluation.site import Site

BANDWIDTH_KBPS, PING_MS = 10_000, 20
ROUNDS_A_PASS: Final = 4
_LEARNING: Final = 12


def run(options: Options) -> None:
    """All models at one link and two clocks of the edge."""
    with Rows(options.out / "uncut" / "rows.jsonl", evaluation) as rows:
        for model in options.models:
            print_progress(f"uncut: {model} starts")
            with open_site(options, model, w=0.0) as (site, rows.bed[model]):
                for clock_mhz in (MAX_CLOCK_MHZ,) if options.quick else (MAX_CLOCK_MHZ, MIN_CLOCK_MHZ):
                    _measure(site, options, clock_mhz, rows)


def _measure(site: Site, options: Options, clock_mhz: float, rows: Rows) -> None:
    site.set(Conditions(clock_mhz=clock_mhz, bandwidth_kbps=BANDWIDTH_KBPS, ping_ms=PING_MS))
    settle(site, options)
    last = site.profile().table.last
    for _ in range(_LEARNING):  # the planner learns, and may change its mind
        site.infer()
    asked = {"picked": None, "edge": last, "cloud": 0}
    site.warm_up([0, site.decision()["cut"], last])
    # In every order, as a request after a long one finds the processor's caches cold.
    orders = itertools.cycle(itertools.permutations(asked))
    for number, order in zip(range(options.passes * ROUNDS_A_PASS), orders, strict=False):
        for kind in order:
            rows.ask(site, asked[kind], kind=kind, model=site.model, clock_mhz=clock_mhz, round=number)
    print_progress(f"uncut: {site.model} at {clock_mhz:g} MHz: at cut {site.decision()['cut']}")
