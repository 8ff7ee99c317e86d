"""Short runs of the experiments on a real test bed: nothing is lost, and what is written can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from evaluation.figure6 import measure as figure6
from evaluation.options import Options
from evaluation.steps import measure as steps
from evaluation.throttle import measure as throttle
from evaluation.trace import measure as trace
from evaluation.uncut import measure as uncut

from midcut.results.evaluation import Evaluation, read_evaluation
from midcut.traces import read_trace

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("a_bed_can_be_made")]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """One folder for all, so that profiles are made once."""
    return Options(out=tmp_path_factory.mktemp("dynamic"), models=("mnist",), quick=True, minutes=0.2, step_s=3.0)


def evaluation_of(experiment: ModuleType, options: Options) -> Evaluation:
    experiment.run(options)
    return read_evaluation(options.out / experiment.__package__.rpartition(".")[2] / "evaluation.json")


def mean_s(result: Evaluation, strategy: str) -> float:
    value = result.values[f"mnist_{strategy}_latency_s"]
    assert value is not None
    return value


def test_a_trace_compares_dynamic_requests_with_fixed_cuts(options: Options) -> None:
    result = evaluation_of(trace, options)
    assert result.values["mnist_lost"] == 0
    assert result.values["mnist_steps"] == len(read_trace(options.out / "trace" / "trace-mnist.csv").time_s) == 4
    for strategy in ("dynamic", "edge_only", "cloud_only", "static_best", "oracle"):
        assert mean_s(result, strategy) > 0.0
    # A digit takes milliseconds at the edge, and a round trip of tens to the cloud.
    assert mean_s(result, "dynamic") < mean_s(result, "cloud_only")


def test_steps_find_the_best_cuts_by_measuring(options: Options) -> None:
    result = evaluation_of(steps, options)
    assert result.values["lost"] == 0
    (row,) = result.tables[0].rows
    assert row[3] is not None
    assert row[4] is not None


def test_the_picked_cut_is_compared_with_no_cut(options: Options) -> None:
    result = evaluation_of(uncut, options)
    assert result.values["lost"] == 0
    (row,) = result.tables[0].rows
    assert row[-1] == options.passes * uncut.ROUNDS_A_PASS


@pytest.mark.slow
def test_a_throttle_that_telemetry_does_not_show_is_learnt_by_the_calibrated_edge_only(options: Options) -> None:
    result = evaluation_of(throttle, options)
    assert result.values["lost"] == 0
    columns = result.tables[0].columns
    slower = {
        (row[0], row[1]): row[columns.index("edge estimated slower by, at the end")] for row in result.tables[0].rows
    }
    assert slower["not calibrated", "throttled"] == pytest.approx(1.0, abs=0.02)
    assert {row[1] for row in result.tables[0].rows} == {"before", "throttled", "afterwards"}


@pytest.mark.slow
def test_figure6_gives_four_ratios_for_each_policy(options: Options) -> None:
    result = evaluation_of(figure6, options)
    assert result.values["lost"] == 0
    assert [row[1] for row in result.tables[0].rows] == ["default"] * 4 + ["paper"] * 4
    assert all(row[6] == 2 for row in result.tables[0].rows)
