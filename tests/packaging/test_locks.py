"""The locks of `tools/setup --locked` hold everything that midcut requires, with versions that it allows and hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
MACHINES = [{"platform_machine": machine, "sys_platform": "linux"} for machine in ("x86_64", "aarch64")]


def locked():
    """Each entry of the locks, with the number of its hashes."""
    text = "\n".join((ROOT / "tools" / "locks" / f"{name}.txt").read_text() for name in ("build", "run", "torch"))
    for entry in re.split(r"\n(?=[a-z0-9])", text):
        yield Requirement(entry.partition("\\")[0].strip()), entry.count("--hash=sha256:")


def required():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for text in (*project["dependencies"], *extras["onnx"], *extras["report"])]


def test_every_entry_is_one_version_with_hashes():
    for entry, hashes in locked():
        assert [each.operator for each in entry.specifier] == ["=="], entry
        assert hashes > 0, entry


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine["platform_machine"])
def test_the_locked_versions_are_allowed(machine):
    environment = default_environment() | machine
    entries = [entry for entry, _ in locked() if entry.marker is None or entry.marker.evaluate(environment)]
    versions = {entry.name: next(iter(entry.specifier)).version for entry in entries}
    for requirement in required():
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.specifier.contains(versions[requirement.name]), requirement
    assert ("nvidia-cublas" in versions) == (machine["platform_machine"] == "x86_64")
