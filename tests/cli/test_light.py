"""Help, completion and the list of plugins import neither torch nor other heavy packages."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from midcut.cli.main import VERBS

RUN = """
import sys
sys.argv = {argv!r}
from midcut.cli import main

try:
    main()
finally:
    heavy = [name for name in ("torch", "torchvision", "scipy", "matplotlib", "aiohttp") if name in sys.modules]
    assert not heavy, heavy
"""


def run(*arguments, **environment):
    code = RUN.format(argv=["midcut", *arguments])
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_imports_nothing_heavy(verb):
    finished = run(verb, "--help")
    assert finished.returncode == 0, finished.stderr
    assert "AssertionError" not in finished.stderr
    assert f"midcut {verb}" in finished.stdout


def test_help_lists_groups_components_and_settings():
    text = run("edge", "--help").stdout
    assert "  planner         algorithm1, epsilon_constraint, knee, linucb, throughput, weighted_sum\n" in text
    assert "  telemetry       linux, bandwidth_probe," in text
    assert re.search(r"^  engine.interval_s=1.0 +seconds between two planning steps\.$", text, re.MULTILINE)
    assert re.search(r"^  telemetry.tcp_ping.samples=3 +connects per read", text, re.MULTILINE)  # inside a preset
    assert max(map(len, text.splitlines())) <= 120


def test_help_of_simulate_lists_the_truth_predictors_and_the_values_of_presets():
    text = run("simulate", "--help").stdout
    assert "  predictor/edge@truth.edge profile, layers, power_law\n" in text
    assert "  strategy        algorithm1, weighted_sum, " in text
    assert "  scenario        poisson, clocks, trace\n" in text
    assert "  truth.edge.match_whole=true " in text
    assert "  strategy.algorithm1.semantics=ratio " in text
    assert "  scenario.bandwidth_kbps.unit=1000 " in text  # the preset's, not the schema's
    assert max(map(len, text.splitlines())) <= 120


def test_listing_plugins_imports_nothing_heavy():
    finished = run("plugins", "--json")
    assert finished.returncode == 0, finished.stderr
    answer = json.loads(finished.stdout)
    assert answer["problems"] == []
    names = {(row["kind"], row["name"]) for row in answer["components"]}
    assert {("planner", "algorithm1"), ("predictor/edge", "power_law"), ("model", "alexnet")} <= names


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("midcut pl", {"plan", "plugins"}),
        ("midcut ", set(VERBS)),
        (
            "midcut plan planner=",
            {
                f"planner={name}"
                for name in ("algorithm1", "epsilon_constraint", "knee", "linucb", "throughput", "weighted_sum")
            },
        ),
        ("midcut plan cost=r", {"cost=rented"}),
        ("midcut plan cuts.first", {"cuts.first_cut="}),
        ("midcut edge input=f", {"input=folder"}),
        (
            "midcut plan predictor/",
            {
                "predictor/edge=",
                "predictor/link=",
                "predictor/cloud=",
                "predictor/cloud@predictor.relay=",
                "predictor/link@predictor.second_link=",
            },
        ),
        ("midcut plan planner.w", {"planner.w="}),
        ("midcut plan planner.w=", {"planner.w=0.5"}),
        ("midcut plan telemetry=[tcp_ping] telemetry.tcp_ping.s", {"telemetry.tcp_ping.samples="}),
        ("midcut plan nothing.like.this", set()),
        ("midcut nothing ", set()),
        ("midcut simulate predictor/edge@truth.edge=po", {"predictor/edge@truth.edge=power_law"}),
        ("midcut simulate strategy=al", {"strategy=algorithm1"}),
        ("midcut simulate scenario=trace scenario.s", {"scenario.step_s="}),
    ],
)
def test_completion(line, expected):
    finished = run("-sc", "query=bash", COMP_LINE=line)
    assert finished.returncode == 0, finished.stderr
    assert set(finished.stdout.split()) == expected


def test_completion_is_installed_as_for_any_hydra_app():
    assert "complete -o nospace" in run("-sc", "install=bash").stdout


COLLECTION = """
import atexit, gc, sys
atexit.register(lambda: print("at exit", gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000))
from midcut.cli import main
import midcut.cli.verbs.plan as verb

def collections():
    return sum(generation["collections"] for generation in gc.get_stats())

def run(config):
    print("in the verb", gc.isenabled(), collections() - before <= 1)

verb.run, sys.argv, before = run, ["midcut", "plan"], collections()
main()
print("after it", gc.isenabled())
"""


def test_objects_are_searched_for_cycles_while_a_verb_runs_only():
    ended = subprocess.run([sys.executable, "-c", COLLECTION], capture_output=True, text=True, timeout=600, check=True)
    assert ended.stdout.splitlines() == ["in the verb True True", "after it True", "at exit True True"]


def test_a_misspelt_verb():
    finished = run("plann")
    assert finished.returncode == 1
    assert finished.stderr.strip() == (f"midcut: no verb 'plann'; did you mean 'plan'? there are: {', '.join(VERBS)}")
