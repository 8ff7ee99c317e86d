#!/usr/bin/env python3
"""How long one decision takes, how many fit into a second in bulk, and how long changing the cut takes.

Prints medians and inter-quartile ranges (±) in microseconds.
"""

from __future__ import annotations

import argparse
import gc
import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from common.engines import load
from common.figures import quartiles
from common.options import at_least
from rich.console import Console
from rich.table import Table

from midcut.component import Kind
from midcut.config.build import build
from midcut.config.composition import compose
from midcut.config.settings import CalibrationSettings, CutSettings
from midcut.edge.calibration.calibration import Calibration
from midcut.edge.calibration.sample_window import AgedSample
from midcut.edge.file_choice import FileChoice, FileSizes
from midcut.graph import partition
from midcut.planning.assembly import build_policy
from midcut.planning.cuts import legal_cuts
from midcut.planning.placements import offered_placements, placements
from midcut.planning.policy import PARTS
from midcut.profiles import find_profile
from midcut.profiles.codings import build_measured_codecs
from midcut.simulation.assembly import assemble
from midcut.types import Observation

if TYPE_CHECKING:
    from collections.abc import Callable

    from omegaconf import DictConfig

    from midcut.edge.picture_input import PictureInput
    from midcut.planning.policy import Policy
    from midcut.protocols import Codec
    from midcut.serving.reference_pictures import PictureInputs
    from midcut.types import CutTable, Floats

WEIGHTS, OBSERVATIONS = 101, 10_000
BULK_REPEATS = 5


def microseconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and inter-quartile range of the time of a call."""
    for _ in range(repeats // 10 + 1):
        call()
    gc.collect()
    seconds = np.empty(repeats)
    for index in range(repeats):
        start = perf_counter()
        call()
        seconds[index] = perf_counter() - start
    low, median, high = quartiles(seconds * 1e6)
    return median, high - low


def policy_of(table: CutTable, config: DictConfig, tiers: int = 2) -> Policy:
    cuts = CutSettings(modules=bool(config.cuts.modules))
    return build_policy(config, offered_placements(table, legal_cuts(table, cuts), None, tiers))


def calibrated(policy: Policy, observation: Observation) -> Calibration:
    """A calibration that has nine samples of each part of the latency."""
    calibration = Calibration(CalibrationSettings(forget_s=None))
    forecast = policy.forecast(observation)
    row = len(forecast) // 2
    parts = [1.5 * float(part[row]) for part in (forecast.edge_s, forecast.link_s, forecast.cloud_s)]
    calibration.restore(
        {name: [AgedSample(part_s, 1.5 * part_s, 0.0)] * 9 for name, part_s in zip(PARTS, parts, strict=True)}
    )
    return calibration


def time_one_decision(repeats: int) -> Table:
    columns = ("decision µs", "± IQR", "calibrated µs", "± IQR", "forecast µs", "choose µs")
    table = Table("model", "policy", "placements", *columns, box=None)
    others = {"second_bandwidth_kbps": 4000.0, "second_ping_ms": 20.0}
    observation = Observation(clock_mhz=1200.0, bandwidth_kbps=9000.0, ping_ms=40.0, others=others)
    for model in ("alexnet", "vgg16"):
        for name, tiers in (("default", 2), ("paper", 2), ("default", 3)):
            config = compose("plan", [f"model={model}", f"policy={name}"])
            policy = policy_of(find_profile("pi4", "edge", model).table, config, tiers)
            forecast = policy.forecast(observation)
            correct = calibrated(policy, observation).correct
            decide_us = microseconds(partial(policy.decide, observation), repeats)
            calibrated_us = microseconds(partial(policy.decide, observation, correct), repeats)
            forecast_us, _ = microseconds(partial(policy.forecast, observation), repeats)
            choose_us, _ = microseconds(partial(policy.planner.choose, forecast, 0.5), repeats)
            values = (f"{value:.1f}" for value in (*decide_us, *calibrated_us, forecast_us, choose_us))
            table.add_row(model, name if tiers == 2 else f"{name}, {tiers} tiers", str(len(policy.placements)), *values)
    return table


def time_systems(repeats: int) -> Table:
    """One decision of each system of `experiment=table1`: forecast by its own predictors, and choice."""
    table = Table("system of table 1", "placements", "decision µs", "± IQR", box=None)
    observation = Observation(clock_mhz=1200.0, bandwidth_kbps=9000.0, ping_ms=40.0)
    config = compose("simulate", ["experiment=table1"])
    with TemporaryDirectory() as folder:
        setup, _ = assemble(config, {}, Path(folder))
    for name, policy in setup.systems.items():
        median, spread = microseconds(partial(policy.decide, observation), repeats)
        table.add_row(name, str(len(policy.placements)), f"{median:.1f}", f"{spread:.1f}")
    return table


CODECS = ("file", "webp", "png", "zstd", "int8-zstd", "raw")


def time_one_of_many_codecs(repeats: int) -> Table:
    """One decision over all cuts and six codecs, and what it takes to choose for the file of a picture by its bytes."""
    columns = ("decision µs", "± IQR", "calibrated µs", "first file µs", "next file µs", "tensor µs")
    table = Table("model", "cuts", "codecs", "placements", *columns, box=None)
    for model in ("alexnet", "vgg16"):
        config = compose("plan", [f"model={model}", f"codec=[{','.join(CODECS)}]"])
        cuts = find_profile("pi4", "edge", model).table
        codecs = build_measured_codecs(config, cuts)
        policy = build_policy(config, placements(cuts, legal_cuts(cuts, CutSettings()), codecs))
        (decide_us, spread), *others = (microseconds(call, repeats) for call in _choices(policy, codecs["file"]))
        figures = (f"{value:.1f}" for value in (decide_us, spread, *(median for median, _ in others)))
        counts = (len(set(policy.placements.cut.tolist())), len(CODECS), len(policy.placements))
        table.add_row(model, *map(str, counts), *figures)
    return table


def _choices(policy: Policy, file_codec: Codec) -> tuple[Callable[[], object], ...]:
    """A decision, a calibrated one, and placements for a picture: the first, further ones and a tensor's."""
    observation = Observation(clock_mhz=1200.0, bandwidth_kbps=9000.0, ping_ms=40.0)
    correct = calibrated(policy, observation).correct
    decision = policy.decide(observation, correct)
    files = FileChoice(FileSizes(file_codec, cast("PictureInputs", _Decoders()), 1200.0), lambda: policy)
    files.compare(_Decoders.digests)
    picture = cast("PictureInput", SimpleNamespace(data=bytes(50_000), file_format="JPEG"))
    files.choose(decision, picture)
    decisions = itertools.cycle([replace(decision), replace(decision)])
    return (
        partial(policy.decide, observation),
        partial(policy.decide, observation, correct),
        lambda: files.choose(next(decisions), picture),
        partial(files.choose, decision, picture),
        partial(files.for_tensors, decision),
    )


class _Decoders:
    """What `FileSizes` takes of a model's preprocessing."""

    digests: ClassVar[dict[str, str]] = {"JPEG": "as here"}
    seconds = 0.005


def time_many_decisions() -> Table:
    """Decisions per second of one call for all weights and observations, with the forecast and without it."""
    title = f"{WEIGHTS} weights x {OBSERVATIONS} observations in one call (AlexNet)"
    table = Table("planner", "decisions/s", "with the forecast", "slowest call s", title=title, box=None)
    rng = np.random.default_rng(0)
    observations = Observation(
        clock_mhz=rng.uniform(600, 1500, OBSERVATIONS),
        bandwidth_kbps=rng.uniform(1_000, 20_000, OBSERVATIONS),
        ping_ms=rng.uniform(5, 150, OBSERVATIONS),
    )
    policy = policy_of(find_profile("pi4", "edge", "alexnet").table, compose("plan", ["model=alexnet"]))
    weights = np.linspace(0.0, 1.0, WEIGHTS)[:, None]
    for overrides in (
        ("planner=algorithm1",),
        ("planner=algorithm1", "planner.semantics=offset"),
        ("planner=algorithm1", "planner.prefilter=pareto"),
        ("planner=weighted_sum",),
        ("planner=epsilon_constraint", "planner.max_latency_s=0.3"),
        ("planner=knee",),
    ):
        planner = build(Kind.PLANNER, compose("plan", overrides).planner)
        choose_s, both_s = [], []
        for _ in range(BULK_REPEATS):
            start = perf_counter()
            forecast = policy.forecast(observations)
            forecast_end = perf_counter()
            picks = planner.choose(forecast, weights)
            end = perf_counter()
            choose_s.append(end - forecast_end)
            both_s.append(end - start)
        label = " ".join(override.removeprefix("planner=").removeprefix("planner.") for override in overrides)
        rates = (f"{picks.size / float(np.median(seconds)):,.0f}" for seconds in (choose_s, both_s))
        table.add_row(label, *rates, f"{max(choose_s):.3f}")
    return table


def first_use_us() -> Floats:
    """Microseconds to enter each cut of AlexNet for the first time, without running a node."""
    table = find_profile("pi4", "edge", "alexnet").table
    model = load(compose("plan", ["model=alexnet"]))
    with_payloads, fresh = partition(model, CutSettings()), partition(model, CutSettings())
    payloads = [with_payloads.head(cut, model.example) for cut in range(table.last + 1)]
    seconds = np.empty(len(payloads))
    for cut in np.random.default_rng(0).permutation(len(payloads)).tolist():
        start = perf_counter()
        fresh.run(cut, cut, payloads[cut])
        seconds[cut] = perf_counter() - start
    return seconds * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repeats", nargs="?", type=at_least(1), default=3000, help="calls timed (default: %(default)s)")
    repeats = parser.parse_args().repeats
    console = Console()
    console.print(time_one_decision(repeats))
    console.print()
    console.print(time_systems(repeats))
    console.print()
    console.print(time_one_of_many_codecs(repeats))
    console.print()
    console.print(time_many_decisions())
    switch_us = first_use_us()
    low, median, high = quartiles(switch_us)
    text = f"{median:.1f} µs ± {high - low:.1f}, at most {switch_us.max():.1f} µs"
    console.print(f"\nchanging the cut, first use of each: {text}", highlight=False)


if __name__ == "__main__":
    main()
