"""The wheel built from the sdist carries everything and works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Sdist from the checkout, wheel from the sdist: what `python -m build` does."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
        timeout=600,
    )
    assert list(out.glob("midcut-*.tar.gz"))
    (wheel,) = out.glob("midcut-*.whl")
    return wheel


def test_the_wheel_has_plugins_configs_weights_and_profiles(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "midcut/conf/plan.yaml",
        "midcut/conf/policy/paper.yaml",
        "midcut/py.typed",
        "midcut_planners/hooks.py",
    ):
        assert wanted in names
    assert any(name.endswith(".safetensors") for name in names)
    assert any("profiles/data" in name and name.endswith(".json") for name in names)
    assert not any(name.startswith(("tests/", "tools/")) for name in names)


def test_the_installed_wheel_plans_and_lists_itself(wheel, tmp_path):
    site = tmp_path / "site"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--target", site, wheel),
        ],
        check=True,
        timeout=600,
    )
    finished = subprocess.run(
        [sys.executable, "-c", "import midcut; print(midcut.__file__); from midcut.cli import main; main()", "plan"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[0] == str(site / "midcut" / "__init__.py")
    assert list(tmp_path.glob("outputs/plan/*/plan.json"))
