"""What pyproject.toml declares is what the code imports, and what tools/setup pins."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEFAULT = [Requirement(line) for line in PROJECT["dependencies"]]
OPTIONAL = [
    Requirement(line) for extra, lines in PROJECT["optional-dependencies"].items() if extra != "dev" for line in lines
]


def imported_distributions():
    """The installed distributions that files of the framework and the plugins import, anywhere in a file."""
    names = set()
    for path in (path for folder in ("framework", "plugins") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.partition(".")[0])
    owners = packages_distributions()
    third_party = {name for name in names - sys.stdlib_module_names if not name.startswith("midcut")}
    return {canonicalize_name(owners.get(name, [name])[0]) for name in third_party}


def test_every_default_dependency_is_imported():
    by_name = {"torchvision"}  # by importlib, in torchvision_shim
    assert {canonicalize_name(requirement.name) for requirement in DEFAULT} - by_name <= imported_distributions()


def test_every_import_is_a_dependency():
    of_dependencies = {"pyyaml", "yarl", "starlette"}  # hydra-core's, aiohttp's and ray[serve]'s
    of_tests = {"pytest"}  # for midcut.testing
    declared = {canonicalize_name(requirement.name) for requirement in [*DEFAULT, *OPTIONAL]}
    assert imported_distributions() <= declared | of_dependencies | of_tests


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_pinned_pair_is_allowed_on_every_machine(machine):
    def of(requirements, name):
        by_name = (entry for entry in requirements if entry.name == name)
        (entry,) = (entry for entry in by_name if entry.marker.evaluate({"platform_machine": machine}))
        return entry.specifier

    pins = [Requirement(line) for line in (ROOT / "tools/constraints.txt").read_text().splitlines()[1:]]
    for name in ("torch", "torchvision"):
        (pin,) = of(pins, name)
        assert of(DEFAULT, name).contains(pin.version)
