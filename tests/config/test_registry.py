"""A plugin that is broken, registered twice, misspelt or returns a wrong type is reported with its distribution."""

from __future__ import annotations

import importlib.metadata
import sys
import textwrap

import pytest
import structlog
from omegaconf import OmegaConf

from midcut import Kind
from midcut.config import folders
from midcut.config.offers import Registry
from midcut.config.registry import load

GOOD = """
from dataclasses import dataclass
from midcut import Component, hookimpl

@dataclass
class Config:
    x: int = 1

@hookimpl
def midcut_planners():
    return [Component("mine", Config, "somewhere.Planner", "a planner")]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay out a distribution as pip would, and give its entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = []

    def lay_out(distribution, source, *, plugin="theirs", module=None, version="2.1"):
        module = module or f"{distribution}_hooks"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{distribution}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        with (info / "entry_points.txt").open("a") as file:
            file.write(f"[midcut]\n{plugin} = {module}\n" if file.tell() == 0 else f"{plugin} = {module}\n")
        modules.append(module)
        return list(importlib.metadata.Distribution.at(info).entry_points)

    yield lay_out
    for module in modules:
        sys.modules.pop(module, None)


def test_a_good_plugin_is_listed_with_its_distribution_version_and_hooks(install):
    loaded = load(install("goodpack", GOOD))
    offer = loaded.offers[Kind.PLANNER, "mine"]
    assert loaded.problems == []
    assert (offer.source.distribution, offer.source.version, offer.hook) == ("goodpack", "2.1", "midcut_planners")
    assert offer.source.hooks == ("midcut_planners",)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import not_there", ["broken 2.1", "does not load", "ModuleNotFoundError", "not_there"]),
        ("1 / 0", ["broken 2.1", "does not load", "ZeroDivisionError"]),
        (GOOD.replace("midcut_planners", "midcut_planers"), ["midcut_planers", "did you mean 'midcut_planners'"]),
        (GOOD.replace("@hookimpl\n", ""), ["broken 2.1", "not marked", "@midcut.hookimpl"]),
        (GOOD.replace("planners():", "planners(extra):"), ["broken 2.1", "midcut_planners(extra)", "extra"]),
        (GOOD.replace("return [", 'return "mine", ['), ["list of midcut.Component", "'mine'"]),
        (GOOD.replace('"somewhere.Planner"', '"somewhere"'), ["midcut_planners failed", "not a dotted path"]),
        (GOOD.replace("@dataclass\n", ""), ["config must be a dataclass"]),
        (
            "from typing import Literal\n" + GOOD.replace("x: int = 1", "x: Literal[1, 2] = 1"),
            ["broken 2.1", "the config of planner 'mine', Config, cannot be a Hydra config", "Literal"],
        ),
        (GOOD.replace("@hookimpl", "@hookimpl(wrapper=True)").replace("return [", "yield ["), ["is a hook wrapper"]),
        ("x = 1", ["broken 2.1", "implements no hook", "midcut_decided"]),
        (
            "from midcut import hookimpl\n@hookimpl\ndef midcut_config_path():\n    return '/etc'",
            ["Hydra search path", "/etc"],
        ),
        (
            "from midcut import hookimpl\n@hookimpl\ndef midcut_latency_predictors():\n    return {'middle': []}",
            ["keys among edge, link, cloud"],
        ),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_reported_in_one_line(install, source, expected):
    loaded = load(install("broken", source))
    assert len(loaded.problems) == 1
    for text in expected:
        assert text in loaded.problems[0]
    assert "\n" not in "".join(loaded.problems)


def test_a_frozen_config_has_settings_that_can_be_set(install):
    loaded = load(install("goodpack", GOOD.replace("@dataclass", "@dataclass(frozen=True)")))
    node = loaded.offers[Kind.PLANNER, "mine"].node.copy()
    node.x = 7
    assert (node.x, node._target_, loaded.problems) == (7, "somewhere.Planner", [])


@pytest.mark.parametrize("setting", ["dict[str, float] | None = None", "dict[str, float] = MISSING"])
def test_a_dict_without_a_default_takes_any_keys(install, setting):
    source = "from omegaconf import MISSING\n" + GOOD.replace("x: int = 1", f"x: {setting}")
    loaded = load(install("goodpack", source))
    node = OmegaConf.create({"planner": loaded.offers[Kind.PLANNER, "mine"].node})
    OmegaConf.set_struct(node, value=True)
    merged = OmegaConf.merge(node, {"planner": {"x": {"a": 1}}})
    assert (merged.planner.x, loaded.problems) == ({"a": 1.0}, [])


@pytest.mark.parametrize("path", ["pkg://not_there.conf", "pkg://not_there.at_all.conf", "pkg://json.decoder.conf"])
def test_presets_of_a_package_that_is_not_there_are_none(tmp_path, monkeypatch, path):
    (tmp_path / "conf" / "planner").mkdir(parents=True)
    (tmp_path / "conf" / "planner" / "no_preset.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders, "registry", lambda: Registry(config_paths=[("theirs", path)]))
    assert "no_preset" not in folders.presets("planner")


def test_a_plugin_that_fails_half_way_observes_nothing(install):
    source = GOOD + "@hookimpl\ndef midcut_models():\n    1 / 0\n@hookimpl\ndef midcut_decided():\n    1 / 0\n"
    loaded = load(install("broken", source))
    loaded.decided("a decision")
    assert loaded.offers == {}
    assert loaded.sources == []


def test_one_broken_plugin_does_not_cost_the_others(install):
    broken = install("broken", "import not_there")
    good = install("goodpack", GOOD)
    loaded = load([*broken, *good])
    assert (Kind.PLANNER, "mine") in loaded.offers
    assert len(loaded.problems) == 1


def test_two_distributions_may_use_the_same_plugin_name(install):
    first = install("one", GOOD)
    second = install("other", GOOD.replace('"mine"', '"yours"'))
    loaded = load([*first, *second])
    assert loaded.problems == []
    assert loaded.names(Kind.PLANNER) == ["mine", "yours"]


def test_a_component_offered_twice_is_named_with_both_and_the_first_is_used(install):
    loaded = load([*install("one", GOOD), *install("other", GOOD, version="9.9")])
    assert loaded.offers[Kind.PLANNER, "mine"].source.distribution == "one"
    assert len(loaded.problems) == 1
    assert "one 2.1" in loaded.problems[0]
    assert "other 9.9" in loaded.problems[0]


def test_one_distribution_naming_an_entry_point_twice(install):
    install("twice", GOOD)
    loaded = load(install("twice", GOOD))
    assert len(loaded.problems) == 1
    assert "registered twice" in loaded.problems[0]


@pytest.mark.parametrize(("disabled", "left"), [("all", []), ("goodpack", []), ("theirs", []), ("else", ["mine"])])
def test_third_party_plugins_can_be_left_out(install, disabled, left):
    assert load(install("goodpack", GOOD), disabled).names(Kind.PLANNER) == left


def test_built_in_plugins_cannot_be_left_out(install):
    assert load(install("midcut", GOOD), "all").names(Kind.PLANNER) == ["mine"]


def test_an_observer_is_called_and_its_failure_is_only_logged(install):
    source = """
    from midcut import hookimpl
    decisions = []

    @hookimpl
    def midcut_decided(decision):
        decisions.append(decision)

    @hookimpl
    def midcut_inferred(result):
        raise RuntimeError("observer is broken")
    """
    loaded = load(install("watcher", source))
    with structlog.testing.capture_logs() as logged:
        loaded.decided("a decision")
        loaded.inferred("a result")
        loaded.inferred("another")
    assert sys.modules["watcher_hooks"].decisions == ["a decision"]
    (event,) = logged
    assert event["error"] == "RuntimeError: observer is broken"
    assert "watcher 2.1" in event["plugin"]


def test_an_unknown_name_says_what_there_is_and_who_offers_it(install):
    error = load(install("goodpack", GOOD)).unknown(Kind.PLANNER, "mime", ("relaxed",))
    assert str(error) == ("no planner is named 'mime'; did you mean 'mine'? goodpack offers mine; presets: relaxed")
