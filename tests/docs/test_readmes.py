"""Every README's commands are run, and its code is the code that is tested."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from midcut.config.composition import compose
from midcut.config.registry import HOOKS
from midcut.results.evaluation import Evaluation, write_evaluation

ROOT = Path(__file__).parents[2]
FILES = ("README.md", "conf/README.md", "plugins/README.md", "tools/README.md", "tools/deploy/README.md")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
PACKAGE = ROOT / "tests" / "third_party" / "midcut-budget"
BLOCKS = [
    (name, language, text)
    for name in FILES
    for language, text in re.findall(r"```(\w+)\n(.*?)```", TEXTS[name], re.DOTALL)
]
# These lines prepare a shell. Everything else is run, but for tools that take minutes or run these tests: of those the
# options are held against their --help.
SHELL = re.compile(r"(\. \.venv/bin/activate|export PATH=.*)$")

NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
"""


def commands():
    """File and words of every line of shell."""
    for name, language, text in BLOCKS:
        if language == "sh":
            for line in text.splitlines():
                if not SHELL.match(line.partition("#")[0].strip()):
                    jobs = re.search(r"# (\d+) jobs", line)
                    yield name, shlex.split(line, comments=True), int(jobs[1]) if jobs else None


def midcut_commands(*verbs, multirun=False):
    """Parameters of the commands of some verbs; those of the plugin run where it is installed."""
    for name, words, jobs in commands():
        if (
            words[:1] == ["midcut"]
            and words[1] in verbs
            and multirun == ("-m" in words)
            and name != "plugins/README.md"
        ):
            marks = [pytest.mark.slow] if (jobs or 0) > 40 else []
            yield pytest.param(words[1:], *([jobs] if multirun else []), id=" ".join(words[1:]), marks=marks)


def streams(words):
    return "input=folder" in words


def test_every_line_of_shell_is_known():
    first = {words[0] if words[0] != "midcut" else f"midcut {words[1]}" for _, words, _ in commands()}
    verbs = {"plan", "plugins", "schedule", "simulate", "report", "profile", "fit", "cloud", "edge"}
    tools = {f"tools/{name}" for name in ("demo", "test", "reproduce", "testbed", "evaluate")}
    assert first <= {f"midcut {verb}" for verb in verbs} | tools | {"curl", "pip", "pytest"}
    assert {language for _, language, _ in BLOCKS} == {"sh", "python", "toml", "yaml", "mermaid"}


@pytest.fixture(scope="session", autouse=True)
def files_that_are_named(folder):
    """What a user has: a network, a photograph, and an evaluation made by `tools/evaluate`."""
    (folder / "my_net.py").write_text(NETWORK)
    Image.effect_noise((64, 64), 80).convert("RGB").save(folder / "photo.jpg")
    write_evaluation(folder / "results" / "matrix", Evaluation("matrix"))


@pytest.mark.parametrize(
    "words", list(midcut_commands("plan", "plugins", "profile", "fit", "schedule", "simulate", "report"))
)
def test_commands_that_end_by_themselves_work(midcut, folder, words):
    if words[:2] == ["report", "outputs/simulate"] and not (folder / "outputs" / "simulate").exists():
        midcut("simulate", "scenario=clocks")  # where this test runs alone
    if "edge_profile=profiles" in words and not (folder / "profiles").exists():
        for role in ("edge", "cloud"):
            midcut("profile", "model=resnet18", f"role={role}", "out=profiles", "repeats=1")
    finished = midcut(*words, *(["repeats=1"] if words[0] == "profile" else []))  # what it measures is not asked here
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(("words", "jobs"), list(midcut_commands("plan", multirun=True)))
def test_sweeps_run_as_many_jobs_as_they_say(midcut, words, jobs, tmp_path):
    finished = midcut(*words, f"hydra.sweep.dir={tmp_path}")
    assert finished.returncode == 0, finished.stderr
    assert len((tmp_path / "sweep.jsonl").read_text().splitlines()) == jobs


def needs_device(words):
    return any(word.startswith(("input=camera", "input=video")) for word in words)


@pytest.mark.parametrize("words", [one for one in midcut_commands("edge") if needs_device(one.values[0])])
def test_commands_for_a_camera_name_settings_that_there_are(words):
    assert compose(words[0], words[1:])


@pytest.mark.parametrize(
    "words",
    [one for one in midcut_commands("cloud", "edge") if not (streams(one.values[0]) or needs_device(one.values[0]))],
)
def test_servers_start_and_end(serving, words):
    assert serving(*words).startswith("http://")


@pytest.mark.parametrize("words", [one for one in midcut_commands("edge") if streams(one.values[0])])
def test_a_folder_is_streamed(midcut, serving, words):
    finished = midcut(*words, f"cloud_url={serving('cloud', 'model=mnist')}", "input.limit=20")
    assert finished.returncode == 0, finished.stderr
    assert "summary.json" in finished.stdout


def test_curl(folder, serving):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    address = serving("edge", "model=mnist", "telemetry=constant")
    asked = [words for _, words, _ in commands() if words[0] == "curl" and "10.77" not in words[-1]]
    assert len(asked) == 5
    for words in asked:
        ready = [re.sub(r"http://127\.0\.0\.1:8701", address, word) for word in words]
        answer = subprocess.run([*ready, "--fail", "--silent"], cwd=folder, capture_output=True, timeout=60, check=True)
        assert isinstance(json.loads(answer.stdout), dict)


def test_python_for_a_client_of_another_vendor(serving):
    if importlib.util.find_spec("tritonclient") is None:
        pytest.skip("needs tritonclient, of the extra dev")
    (code,) = [text for name, language, text in BLOCKS if (name, language) == ("tools/deploy/README.md", "python")]
    address = serving("cloud", "model=alexnet").removeprefix("http://")
    code = code.replace("127.0.0.1:8700", address)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "'shape': [1, 1000]" in answer.stdout


@pytest.mark.parametrize("words", [words for _, words, _ in commands() if words[0].startswith("tools/")], ids=" ".join)
def test_tools_have_the_options_that_are_named(words, environment):
    tool, *rest = words
    if "--" in rest:
        rest = rest[: rest.index("--")]
    named = [word for word in rest if re.match(r"-?-?[a-z][a-z_-]*$", word)]
    lead = [word for word in named[:1] if not word.startswith("-")]
    command = [ROOT / tool, *lead, "--help"]
    shown = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=280, check=False)
    assert shown.returncode == 0, shown.stderr
    assert not [word for word in named if word.startswith("--") and word not in shown.stdout]


@pytest.mark.parametrize("tool", ["demo", "lock", "reproduce", "setup", "test", "deploy/certificates"])
@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_tools_of_the_shell_give_help_wherever_it_is_asked_for(tool, asked, environment, tmp_path):
    script = tmp_path / "tools" / tool  # alone: what goes on after the help fails
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tools" / tool, script)
    for words in ([asked], ["something", asked]):
        shown = subprocess.run(
            [script, *words], env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (shown.returncode, shown.stderr) == (0, "")
        assert f"usage: tools/{tool}" in shown.stdout
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [script.name]


def test_links_lead_somewhere():
    for name, text in TEXTS.items():
        for target in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            file = (ROOT / name).parent / path if path else ROOT / name
            assert file.exists(), f"{name}: {target}"
            if anchor:
                titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
                assert anchor in slugs, f"{name}: {target}"


def test_the_readme_is_one_page():
    assert len(TEXTS["README.md"].splitlines()) <= 160


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_named(hook):
    assert f"`{hook}`" in TEXTS["plugins/README.md"]


def plugin_files():
    """Path and text of the files that the page on plugins prints."""
    return re.findall(r"^`([\w./]+)`[^\n]*\n```\w+\n(.*?)```", TEXTS["plugins/README.md"], re.MULTILINE | re.DOTALL)


def test_the_plugin_that_is_printed_is_the_one_that_is_tested():
    printed = dict(plugin_files())
    assert len(printed) == sum(language != "sh" for name, language, _ in BLOCKS if name == "plugins/README.md")
    assert all((PACKAGE / path).read_text() == text for path, text in printed.items())


@pytest.fixture(scope="session")
def plugin(tmp_path_factory):
    """The plugin as printed, installed into a folder of its own; gives its sources and that folder."""
    source, site = tmp_path_factory.mktemp("midcut-budget"), tmp_path_factory.mktemp("site")
    for path, text in plugin_files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", "--target", site, source], check=True, timeout=280)
    return source, site


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        pytest.param(words, jobs, id=" ".join(words))
        for name, words, jobs in commands()
        if name == "plugins/README.md" and words[0] != "pip"
    ],
)
def test_commands_of_the_plugin(midcut, plugin, words, jobs, tmp_path):
    source, site = plugin
    if words == ["pytest", "tests"]:
        code = f"import sys, pytest; sys.path.insert(0, {str(site)!r}); sys.exit(pytest.main(['-q', 'tests']))"
        ended = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, timeout=280, check=False)
        assert ended.returncode == 0, ended.stdout
        return
    finished = midcut(*words[1:], *([f"hydra.sweep.dir={tmp_path}"] if jobs else []), path=[site])
    assert finished.returncode == 0, finished.stderr
    if jobs:
        assert len((tmp_path / "sweep.jsonl").read_text().splitlines()) == jobs
