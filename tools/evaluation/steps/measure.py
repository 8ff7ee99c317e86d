"""Sends requests without pause while the bandwidth or the clock changes at once, forth and back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from evaluation.beds import open_site, settle
from evaluation.best_cut import measure_candidates
from evaluation.policies import OfflinePolicies
from evaluation.rows import Rows, print_progress
from evaluation.site import MAX_CLOCK_MHZ, MIN_CLOCK_MHZ, Conditions
from evaluation.steps.report import evaluation

if TYPE_CHECKING:
    from evaluation.options import Options
    from evaluation.site import Site

MODELS = ("alexnet",)
AFTER_S, QUICK_AFTER_S = 10.0, 4.0
REPEATS, PASSES = 3, 5
_FAST_LINK = Conditions(clock_mhz=MIN_CLOCK_MHZ, bandwidth_kbps=10_000, ping_ms=10)
STEPS = {
    "bandwidth 10 to 1 Mbit/s": (_FAST_LINK, Conditions(clock_mhz=MIN_CLOCK_MHZ, bandwidth_kbps=1_000, ping_ms=10)),
    "clock 100 to 40 %": (Conditions(clock_mhz=MAX_CLOCK_MHZ, bandwidth_kbps=10_000, ping_ms=10), _FAST_LINK),
}


def run(options: Options) -> None:
    """Each step several times; the best cut before and after is measured by forced requests at rest."""
    with Rows(options.out / "steps" / "rows.jsonl", evaluation) as rows:
        for model in options.models_among(MODELS):
            print_progress(f"steps: {model} starts")
            with open_site(options, model, w=options.w) as (site, rows.bed[model]):
                for name in list(STEPS)[: 1 if options.quick else None]:
                    _measure_step(site, options, name, rows)


def _measure_step(site: Site, options: Options, name: str, rows: Rows) -> None:
    after_s, passes, repeats = (QUICK_AFTER_S, 2, 1) if options.quick else (AFTER_S, PASSES, REPEATS)
    policy = OfflinePolicies.of(site).default
    labels: dict[str, Any] = {"model": site.model, "case": name}
    sides = dict(zip(("before", "after"), STEPS[name], strict=True))
    site.set(sides["before"])
    settle(site, options)
    measure_candidates(site, policy, rows, passes, **labels, side="before")
    for repeat in range(repeats):
        for side, conditions in sides.items():
            site.set(conditions)
            changed_s = time.time()
            while time.time() < changed_s + after_s:
                rows.ask(site, **labels, kind="dynamic", side=side, repeat=repeat, changed_s=changed_s)
            print_progress(f"{site.model}: {name}, run {repeat + 1}, {side} the step: at cut {rows.all[-1].get('cut')}")
    measure_candidates(site, policy, rows, passes, **labels, side="after")
