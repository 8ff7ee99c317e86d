"""Slows an edge down without its telemetry showing it, with live calibration and without."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from evaluation.beds import open_site, settle
from evaluation.best_cut import measure_candidates
from evaluation.policies import OfflinePolicies, true_observation
from evaluation.rows import Rows, print_progress
from evaluation.site import MAX_CLOCK_MHZ, Conditions
from evaluation.throttle.report import FACTOR, evaluation

if TYPE_CHECKING:
    from evaluation.options import Options
    from evaluation.site import Site

CORE_MHZ: Final = 3000.0
"""At 1500 MHz the edge has half of its core, throttled a fifth: what a control group gives reliably."""
CONDITIONS = Conditions(clock_mhz=MAX_CLOCK_MHZ, bandwidth_kbps=50_000, ping_ms=5)
"""Where the edge is about as fast as the cloud through the link: that it is slower changes the best cut."""
CALIBRATION_ENABLED = {"calibrated": "true", "not calibrated": "false"}
REQUESTS = {"before": 20, "throttled": 40}
QUICK_REQUESTS = {"before": 4, "throttled": 12}
RECOVER_S, QUICK_RECOVER_S = 60.0, 3.0
PASSES = 5


def run(options: Options) -> None:
    """One model, once with live calibration and once without: before, while and after it is throttled 2.5 times.

    Afterwards it goes on for a minute: where the cut in use runs nothing on the edge, only time makes the calibration
    forget.
    """
    model = options.models[0]
    with Rows(options.out / "throttle" / "rows.jsonl", evaluation) as rows:
        for way, enabled in CALIBRATION_ENABLED.items():
            print_progress(f"throttle: {model}, {way}")
            overrides = (f"calibration.enabled={enabled}",)
            with open_site(options, model, overrides, w=0.0, full_mhz=CORE_MHZ) as (site, rows.bed):
                _measure(site, options, rows, way)


def _measure(site: Site, options: Options, rows: Rows, way: str) -> None:
    policy = OfflinePolicies.of(site).default
    profiled_s = float(policy.forecast(true_observation(CONDITIONS)).edge_s[-1])

    def ask(phase: str) -> None:
        """Send a dynamic request, and note how much slower than profiled the edge is estimated to be before it."""
        forecast = site.decision().get("forecast", ())
        slower = max(forecast, key=lambda row: row["cut"])["edge_s"] / profiled_s if forecast else None
        rows.ask(site, model=site.model, way=way, phase=phase, kind="dynamic", held=slower)

    site.set(CONDITIONS)
    settle(site, options)
    try:
        for phase, count in (QUICK_REQUESTS if options.quick else REQUESTS).items():
            site.bed.clock.throttle(FACTOR if phase == "throttled" else 1.0)
            for _ in range(count):
                ask(phase)
            print_progress(f"throttle: {way}, {phase}, at cut {rows.all[-1].get('cut')}")
            passes = 2 if options.quick else PASSES
            measure_candidates(site, policy, rows, passes, model=site.model, way=way, phase=phase)
        site.bed.clock.throttle(1.0)
        until = time.monotonic() + (QUICK_RECOVER_S if options.quick else RECOVER_S)
        while time.monotonic() < until:
            ask("afterwards")
    finally:
        site.bed.clock.throttle(1.0)
