from __future__ import annotations

import msgspec
import pytest

from midcut.results.simulation import Claim, Front, Interval, PartError, Series, Simulation, write_simulation

POISSON = {"kind": "drawn", "samples": 4, "seed": 7, "bandwidth_kbps": {"kind": "poisson", "mean": 9, "unit": 1000}}


def series(strategy, w, latency_s, cost_usd, picks=(), *, planner=False, **more):
    """Means of the samples given; what a report does not compute is made up but possible."""
    mean = sum(latency_s) / len(latency_s)
    return Series(
        strategy=strategy,
        planner=planner,
        w=w,
        latency_s=mean,
        cost_usd=sum(cost_usd) / len(cost_usd),
        latency_p95_s=max(latency_s),
        latency_regret=mean / 0.15 - 1.0,
        objective_regret=0.02,
        dominated=0.25,
        distinct=max(1, len(set(picks))),
        switches_per_100=50.0,
        picks=tuple(picks),
        sample_latency_s=tuple(latency_s),
        sample_cost_usd=tuple(cost_usd),
        **more,
    )


@pytest.fixture(scope="session")
def simulation():
    """Four samples, three cuts, two planners: a simulation as `midcut simulate` writes one."""

    def make(weights=(0.0, 0.5, 1.0), **changes):
        spread = Interval(1.3, 1.1, 1.5)
        ratios = {"latency_ratio": {"latency_optimal": spread}, "cost_ratio": {"cost_optimal": spread}}
        claim = ("Figure 6", "cost", "cost_usd", "algorithm1", 0.5, "latency_optimal", -65.53, -65.1)
        rows = [
            series("latency_optimal", 0.0, (0.1, 0.2, 0.1, 0.2), (9e-6, 8e-6, 9e-6, 8e-6), (3, 1, 3, 1)),
            series("cost_optimal", 1.0, (0.4, 0.4, 0.5, 0.5), (2e-6, 2e-6, 2e-6, 2e-6), (0, 0, 0, 0)),
            series("edge_only", None, (0.1, 0.3, 0.1, 0.3), (9e-6, 9e-6, 9e-6, 9e-6), (3, 3, 3, 3)),
            series("oracle", 0.5, (0.1, 0.2, 0.2, 0.2), (5e-6, 5e-6, 5e-6, 5e-6), (3, 1, 1, 1)),
        ]
        for w in weights:
            up = 0.1 + 0.3 * w
            for name in ("algorithm1", "weighted_sum"):
                seconds, dollars = (up, up, up, up + 0.1), (8e-6 - 6e-6 * w,) * 4
                rows += [series(name, w, seconds, dollars, (1, 1, 0, 1), planner=True, **ratios)]
        values = {
            "title": "Figure 6: AlexNet",
            "model": "alexnet",
            "scenario": POISSON,
            "policy": {"edge": "power_law", "link": "eq3", "cloud": "linear"},
            "truth": {"edge": "profile", "link": "round_trip", "cloud": "profile"},
            "cost": "rented",
            "samples": 4,
            "population": 100,
            "cuts": (0, 1, 3),
            "layers": (0, 1, 3),
            "after": ("input", "conv", "fc"),
            "weights": tuple(weights),
            "series": tuple(rows),
            "fronts": (
                Front("algorithm1", 0.98, 0.75, 0.05, 2.5, 0.03),
                Front("weighted_sum", 0.95, 0.5, 0.0, 2.0, 0.01),
            ),
            "errors": (PartError("edge", 0.27, 0.6, -0.1), PartError("latency", 0.06, 0.2, 0.02)),
            "claims": (Claim(*claim, Interval(-66.0, -69.0, -61.0)),),
            "clock_mhz": (900.0, 1500.0, 700.0, 1200.0),
            "bandwidth_kbps": (9000.0, 12000.0, 7000.0, 8000.0),
            "ping_ms": (120.0, 120.0, 120.0, 120.0),
            "based_on": {"edge": "fit of a board", "truth.edge": "profile of a board"},
        }
        return Simulation(**(values | changes))

    return make


@pytest.fixture(scope="session")
def write_run():
    """Write a simulation as a run's folder has it."""

    def write(simulation, folder):
        folder.mkdir(parents=True)
        write_simulation(folder / "simulation.json", simulation)

    return write


@pytest.fixture(scope="session")
def sweep_file():
    """Write `sweep.jsonl` as a multirun has it."""

    def write(folder, jobs):
        lines = [
            {"job": number, "verb": "simulate", "status": "completed", "run_dir": f"{folder}/{number}"} | job
            for number, job in enumerate(jobs)
        ]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sweep.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    return write
