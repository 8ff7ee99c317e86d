"""`midcut schedule` as users run it."""

from __future__ import annotations

import msgspec
import pytest

from midcut.profiles import SHIPPED, read_profile, write_profile
from midcut.results.schedule import read_schedule


def test_a_schedule_of_every_method_with_its_gap(midcut, tmp_path):
    wanted = "applications=[{model: alexnet, deadline_share: 0.9}]"
    status, out, err = midcut("schedule", wanted, "cuts.modules=true", "seeds=2", "iterations=50", "hydra.run.dir=run")
    assert status == 0, err
    result = read_schedule(tmp_path / "run/schedule.json")
    assert result.reference == "dp"
    assert [(each.method, each.seed) for each in result.results] == [
        ("exhaustive", None), ("dp", None), ("greedy", None), ("pso_ga", 0), ("pso_ga", 1),
    ]  # fmt: skip
    assert all(each.late_s > 0.0 or each.gap >= -1e-9 for each in result.results)
    assert "gap: money over that of dp, the optimum of all placements" in out
    assert "pso_ga, 2 seeds: optimum in" in out


def test_several_applications_share_edge_and_cloud(midcut, tmp_path):
    wanted = "applications=[{model: mnist, deadline_s: 0.1}, {model: mnist, deadline_s: 0.1}]"
    methods = "methods=[exhaustive,greedy]"
    status, _, err = midcut("schedule", wanted, methods, "cuts.modules=true", "hydra.run.dir=run")
    assert status == 0, err
    result = read_schedule(tmp_path / "run/schedule.json")
    assert result.reference == "exhaustive"
    best, greedy = result.results
    assert best.late_s == 0.0
    assert (greedy.late_s, greedy.cost_usd) >= (best.late_s, best.cost_usd)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "applications is empty: give e.g. applications="),
        (("applications=[{model: alexnet, deadline_s: -1}]",), "applications.deadline_s must be over 0, got -1"),
        (("applications=[{model: alexnet, deadline_s: 1, deadline_share: 1}]",), "deadline_s or deadline_share, not"),
        (("applications=[{model: alexnet}]", "edge.usd_per_hour=-1"), "edge.usd_per_hour must be"),
        (("applications=[{model: alexnet}]", "edge.usd_per_hour=dear"), "edge.usd_per_hour"),
        (("applications=[{model: alexnet}]", "first_hop.bandwidth_kbps=0"), "first_hop.bandwidth_kbps must be"),
        (("applications=[{model: alexnet}]", "cloud.faster=0"), "cloud.faster must be over 0"),
        (("applications=[{model: alexnet}]", "edge.role=none"), "edge.role: Invalid value 'none', expected one of"),
        (("applications=[{model: nothing}]",), "has no profile of 'nothing' as edge"),
        (("applications=[{model: vgg16}, {model: vgg16}, {model: vgg16}]",), "combinations are more than 1,000,000"),
    ],
)
def test_what_cannot_be_scheduled_gets_one_line(midcut, overrides, message):
    status, _, err = midcut("schedule", *overrides)
    assert status == 1
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("tier", ["device", "cloud"])
def test_a_profile_of_several_images_at_once_is_refused(midcut, tmp_path, tier):
    shipped = read_profile(SHIPPED / "profiles" / {"device": "pi4"}.get(tier, tier) / "mnist.json")
    write_profile(msgspec.structs.replace(shipped, batch=4), tmp_path / "four.json")
    status, _, err = midcut("schedule", "applications=[{model: mnist}]", f"{tier}.profile=four.json")
    assert status == 1
    assert "was measured with 4 images at once" in err
