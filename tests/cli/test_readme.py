"""The README's code is the code that is tested, and its commands are run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from midcut.cli.main import VERBS
from midcut.config.registry import HOOKS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PACKAGE = ROOT / "tests/third_party/midcut-budget"


@pytest.mark.parametrize("file", ["src/midcut_budget/hooks.py", "src/midcut_budget/planner.py", "tests/test_budget.py"])
def test_the_plugin_in_the_readme_is_the_one_that_is_tested(file):
    assert f"```python\n{(PACKAGE / file).read_text()}```" in README


def test_its_entry_point_is_the_one_that_is_tested():
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert block in (PACKAGE / "pyproject.toml").read_text()


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_in_the_readme(hook):
    assert f"`{hook}`" in README


def commands():
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["midcut"] and "planner=budget" not in line and "planner=budget,algorithm1" not in line:
                yield words[1:]


def ending():
    for words in commands():
        if words[0] in ("plan", "plugins") and "edge_profile=profiles" not in words and "-m" not in words:
            yield pytest.param(words, id=" ".join(words))


def sweeps():
    for line in re.findall(r"^midcut .* -m .*$", README, re.MULTILINE):
        if "planner=budget" not in line:
            words = shlex.split(line, comments=True)[1:]
            yield pytest.param(words, re.search(r"# (\d+) jobs", line), id=" ".join(words))


@pytest.mark.parametrize("words", list(ending()))
def test_commands_that_end_by_themselves_work(midcut, words):
    finished = midcut(*words)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("words", "said"), list(sweeps()))
def test_sweeps_run_as_many_jobs_as_the_readme_says(midcut, words, said, tmp_path):
    finished = midcut(*words)
    assert finished.returncode == 0, finished.stderr
    (path,) = tmp_path.glob("multirun/*/*/sweep.jsonl")
    assert len(path.read_text().splitlines()) == int(said[1])


@pytest.mark.parametrize(
    "words", [words for words in commands() if VERBS[words[0]].hydra and "-m" not in words], ids=" ".join
)
def test_every_command_composes(midcut, words):
    finished = midcut(*words, "--cfg", "job")
    assert finished.returncode == 0, finished.stderr
