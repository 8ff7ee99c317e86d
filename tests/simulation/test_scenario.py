"""Samples: drawing against hand-written numpy, lists of values, traces, and refused settings."""

from __future__ import annotations

import numpy as np
import pytest

from midcut.config.settings import Distribution, DistributionKind, ScenarioDrawn, ScenarioTrace
from midcut.errors import ConfigError, FileError
from midcut.simulation.scenario import draw_repetitions, make_samples

FIGURE6 = ScenarioDrawn(
    samples=20,
    seed=2189,
    clock_mhz=Distribution(DistributionKind.normal, mean=1000.0, sd=350.0, low=600.0, high=1500.0),
    bandwidth_kbps=Distribution(DistributionKind.poisson, mean=9.0, unit=1000.0),
    ping_ms=Distribution(value=120.0),
)


def by_hand(seed, n=20):
    rng = np.random.default_rng(seed)
    bandwidth = np.maximum(1, rng.poisson(9, n)) * 1000.0
    return bandwidth, np.clip(rng.normal(1000, 350, n), 600, 1500)


def listed(*values):
    return Distribution(DistributionKind.values, values=list(values))


def constants(**fields):
    """A scenario of constants, but for the given fields."""
    given = {name: Distribution(value=value) for name, value in
             {"clock_mhz": 1000.0, "bandwidth_kbps": 9000.0, "ping_ms": 120.0}.items()}  # fmt: skip
    return ScenarioDrawn(**given | fields)


def test_bandwidth_is_drawn_first_then_the_clock():
    samples = make_samples(FIGURE6)
    bandwidth, clock = by_hand(2189)
    np.testing.assert_array_equal(samples.fields["bandwidth_kbps"], bandwidth)
    np.testing.assert_array_equal(samples.fields["clock_mhz"], clock)
    assert set(samples.fields["ping_ms"]) == {120.0}
    assert samples.fields["bandwidth_kbps"][:4].tolist() == [10000.0, 3000.0, 8000.0, 13000.0]


def test_the_ping_is_drawn_last():
    ping = Distribution(DistributionKind.uniform, low=10.0, high=20.0)
    scenario = constants(ping_ms=ping, bandwidth_kbps=FIGURE6.bandwidth_kbps)
    scenario.samples, scenario.seed = 6, 3
    rng = np.random.default_rng(3)
    rng.poisson(9, 6)
    np.testing.assert_array_equal(make_samples(scenario).fields["ping_ms"], rng.uniform(10, 20, 6))


def test_repetitions_are_the_same_drawing_under_other_seeds():
    fields = draw_repetitions(FIGURE6, range(3)).fields
    for seed in range(3):
        rows = slice(20 * seed, 20 * (seed + 1))
        bandwidth, clock = by_hand(seed)
        np.testing.assert_array_equal(fields["bandwidth_kbps"][rows], bandwidth)
        np.testing.assert_array_equal(fields["clock_mhz"][rows], clock)


def test_fewest_counts():
    few = Distribution(DistributionKind.poisson, mean=1.0, low=3.0, unit=100.0)
    scenario = constants(bandwidth_kbps=few)
    scenario.samples = 200
    assert make_samples(scenario).fields["bandwidth_kbps"].min() == 300.0


def test_lists_go_through_their_values():
    clocks = listed(600.0, 900.0, 1500.0)
    samples = make_samples(constants(clock_mhz=clocks))
    assert samples.fields["clock_mhz"].tolist() == [600.0, 900.0, 1500.0]
    assert samples.fields["bandwidth_kbps"].tolist() == [9000.0] * 3
    cycled = constants(clock_mhz=clocks)
    cycled.samples = 5
    assert make_samples(cycled).fields["clock_mhz"].tolist() == [600.0, 900.0, 1500.0, 600.0, 900.0]
    one_more = constants(clock_mhz=clocks, ping_ms=listed(7.0))
    assert make_samples(one_more).fields["ping_ms"].tolist() == [7.0] * 3


REFUSED = {
    "no length": (constants, "scenario.samples must be given"),
    "lists of two lengths": (
        lambda: constants(clock_mhz=listed(1.0, 2.0), ping_ms=listed(1.0, 2.0, 3.0)),
        "equal lengths.*clock_mhz 2, ping_ms 3",
    ),
    "an empty list": (lambda: constants(clock_mhz=listed()), "scenario.clock_mhz.values must be given"),
    "NaN in a list": (
        lambda: constants(clock_mhz=listed(float("nan"))),
        "clock_mhz must be finite",
    ),
    "no clock": (
        lambda: constants(clock_mhz=listed(5.0, 0.0)),
        "clock_mhz must be .* over 0.*got 0",
    ),
    "a negative ping": (lambda: constants(ping_ms=listed(-1.0)), "ping_ms must be .* 0 or more"),
    "no spread": (
        lambda: constants(ping_ms=Distribution(DistributionKind.normal, mean=3.0)),
        "ping_ms.sd must be given",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    scenario, words = REFUSED[name]
    with pytest.raises(ConfigError, match=words):
        make_samples(scenario())


def trace(path, text):
    path.write_text(text)
    return ScenarioTrace(path=str(path), step_s=0.5)


def test_a_trace_is_sampled_to_its_end(tmp_path):
    samples = make_samples(
        trace(tmp_path / "t.csv", "time_s,bandwidth_kbps,clock_mhz\n0,1,10\n1,2,20\n1.6,3,30\n2,4,40\n")
    )
    assert samples.time_s.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert samples.fields["bandwidth_kbps"].tolist() == [1.0, 1.0, 2.0, 2.0, 4.0]
    assert samples.fields["clock_mhz"].tolist() == [10.0, 10.0, 20.0, 20.0, 40.0]
    assert "ping_ms" not in samples.fields


def test_steps_that_are_no_binary_fractions_reach_every_row(tmp_path):
    rows = "".join(f"{i / 10},{i + 1}\n" for i in range(101))
    scenario = trace(tmp_path / "t.csv", "time_s,ping_ms\n" + rows)
    scenario.step_s = 0.1
    assert make_samples(scenario).fields["ping_ms"].tolist() == [i + 1 for i in range(101)]


@pytest.mark.parametrize("step_s", [0.0, -1.0, float("nan"), float("inf")])
def test_steps_refused(step_s):
    with pytest.raises(ConfigError, match=r"scenario.step_s must be (finite and )?over 0, got"):
        ScenarioTrace(path="t.csv", step_s=step_s)


def test_far_too_many_steps(tmp_path):
    scenario = trace(tmp_path / "t.csv", "time_s,ping_ms\n0,1\n1000,2\n")
    scenario.step_s = 1e-6
    with pytest.raises(ConfigError, match="makes more than 10,000,000 samples of 1000 s"):
        make_samples(scenario)


def test_an_empty_trace(tmp_path):
    with pytest.raises(FileError, match="the trace is empty"):
        make_samples(trace(tmp_path / "t.csv", ""))
