"""An edge that is slowed down without its telemetry showing it, with live calibration and without."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from evaluation.beds import TOP_MHZ, opened, settle
from evaluation.policies import Offline, observed
from evaluation.rows import Rows, say
from evaluation.site import Conditions
from evaluation.throttle import report as slowed
from evaluation.trace.measure import measure_rivals
from midcut.results.evaluation import write_evaluation

if TYPE_CHECKING:
    from pathlib import Path

    from evaluation.options import Options
    from evaluation.site import Site

FACTOR: Final = 2.5
CORE_MHZ: Final = 3000.0
"""At 1500 MHz the edge has half of its core, throttled a fifth: what a control group gives reliably."""
CONDITIONS = Conditions(clock_mhz=TOP_MHZ, bandwidth_kbps=50_000, ping_ms=5)
"""Where the edge is about as fast as the cloud through the link: that it is slower changes the best cut."""
WAYS = {"calibrated": "true", "not calibrated": "false"}
REQUESTS = {"before": 20, "throttled": 40}
QUICK_REQUESTS = {"before": 4, "throttled": 12}
RECOVER_S, QUICK_RECOVER_S = 60.0, 3.0
PASSES = 5


def run(options: Options) -> Path:
    """One model, once with live calibration and once without: before, while and after it is throttled 2.5 times.

    Afterwards it goes on for a minute: where the cut in use leaves the edge alone, what was learnt of the edge is
    forgotten by time alone.
    """
    folder = options.out / "throttle"
    model = options.models[0]
    described: dict[str, Any] = {}
    with Rows(folder) as rows:
        try:
            for way, enabled in WAYS.items():
                say(f"throttle: {model}, {way}")
                with opened(options, model, (f"calibration.enabled={enabled}",), w=0.0, full_mhz=CORE_MHZ) as site:
                    described = site.describe()
                    _measure(site, options, rows, {"model": model, "way": way})
        finally:
            if any("cut" in row for row in rows.all):
                write_evaluation(folder, slowed.evaluation(rows.all, described, FACTOR))
    return folder


def _measure(site: Site, options: Options, rows: Rows, about: dict[str, Any]) -> None:
    passes = 2 if options.quick else PASSES
    offline = Offline.of(site).default
    edge_s = offline.forecast(observed({"clock_mhz": TOP_MHZ, "bandwidth_kbps": 1e5, "ping_ms": 5.0})).edge_s[-1]
    site.set(CONDITIONS)
    settle(site, options)
    try:
        for phase, count in (QUICK_REQUESTS if options.quick else REQUESTS).items():
            site.bed.clock.throttle(FACTOR if phase == "throttled" else 1.0)
            for _ in range(count):
                _one(site, rows, about | {"phase": phase}, edge_s)
            say(f"throttle: {about['way']}, {phase}, at cut {rows.all[-1].get('cut')}")
            measure_rivals(site, offline, rows, about | {"phase": phase}, passes)
        site.bed.clock.throttle(1.0)
        until = time.monotonic() + (QUICK_RECOVER_S if options.quick else RECOVER_S)
        while time.monotonic() < until:
            _one(site, rows, about | {"phase": "afterwards"}, edge_s)
    finally:
        site.bed.clock.throttle(1.0)


def _one(site: Site, rows: Rows, about: dict[str, Any], edge_s: float) -> None:
    """A dynamic request, and how much slower than profiled the edge is held to be before it."""
    forecast = site.decision().get("forecast", ())
    held = max(forecast, key=lambda row: row["cut"])["edge_s"] / edge_s if forecast else None
    rows.ask(site, **about, kind="dynamic", held=held)
