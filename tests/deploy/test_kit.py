"""The deployment kit: what can be checked without a container engine, a cluster or a Pi.

Images, manifests and units go through the tools of their own world (hadolint, the schemas of Kubernetes,
systemd-analyze); every command in them is composed by midcut; certificates and the dashboard's queries are tried on a
running edge and cloud. The Debian package prometheus is needed for the last one.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from common.processes import free_port, server

import midcut_models
from midcut.config.composition import compose

DEPLOY = Path(__file__).parents[2] / "tools" / "deploy"
DIGIT = Path(midcut_models.__file__).parent / "digits" / "0003.png"
CONTAINERFILE = (DEPLOY / "containers" / "Containerfile").read_text()
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "cloud.yaml").read_text()))
COMPOSE = yaml.safe_load((DEPLOY / "containers" / "compose.yaml").read_text())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def test_the_images_are_written_as_hadolint_asks():
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    linted = subprocess.run([hadolint, DEPLOY / "containers" / "Containerfile"], check=False, capture_output=True)
    assert (linted.returncode, linted.stdout) == (0, b"")


@pytest.mark.parametrize("manifest", KUBERNETES, ids=lambda manifest: manifest["kind"])
def test_manifests_fit_the_schemas_of_kubernetes(manifest):
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_metrics_are_read_with_the_token_and_of_a_port_that_there_is():
    (deployment,) = (manifest for manifest in KUBERNETES if manifest["kind"] == "Deployment")
    pod = deployment["spec"]["template"]
    (secret,) = (volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume)
    monitor = yaml.safe_load((DEPLOY / "kubernetes" / "monitor.yaml").read_text())["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert endpoint["port"] in {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert endpoint["authorization"]["credentials"]["name"] == secret


def test_nothing_of_the_guide_lies_where_a_service_sees_nothing():
    assert all("ProtectHome=yes" in unit.read_text() for unit in UNITS)
    assert not re.search(r"(folder|file|path|ca|cert|key)=/home/", (DEPLOY / "pi-and-vm.md").read_text())


def test_what_the_guides_do_after_an_answer_they_do_not_after_a_refusal():
    lines = [line for page in DEPLOY.glob("*.md") for line in page.read_text().splitlines()]
    asking = [line for line in lines if line.startswith("curl ") and "&&" in line]
    assert asking
    assert all("-f" in line.split() for line in asking)  # without it the page of an error is a success, too


def entry_points():
    return {
        stage: tuple(json.loads(words))
        for stage, words in re.findall(
            r"AS (cloud|edge)\n.*?^ENTRYPOINT (\[.*?\])$", CONTAINERFILE, re.DOTALL | re.MULTILINE
        )
    }


def commands():
    """Every command of the kit: where it stands, and its words after `midcut`."""
    for stage, words in entry_points().items():
        default = re.search(rf"AS {stage}\n.*?^CMD (\[.*?\])$", CONTAINERFILE, re.DOTALL | re.MULTILINE)
        yield f"Containerfile {stage}", [*words[1:], *json.loads(default[1])]
        service = COMPOSE["services"][stage]["command"]
        yield f"compose {stage}", [*words[1:], *(re.sub(r"\$\{\w+:-(.*?)\}", r"\1", word) for word in service)]
    (deployment,) = (manifest for manifest in KUBERNETES if manifest["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    yield "kubernetes", [*entry_points()["cloud"][1:], *container["args"]]
    for unit in UNITS:
        text = unit.read_text()
        started = re.search(r"^ExecStart=\S+ (.*)$", text, re.MULTILINE)[1]
        settings = re.search(r"^#\s+MIDCUT_SETTINGS=(.*)$", text, re.MULTILINE)[1]
        yield unit.name, shlex.split(started.replace("%d", "/run/credentials").replace("$MIDCUT_SETTINGS", settings))


@pytest.mark.parametrize(
    ("verb", "overrides"), [pytest.param(words[0], words[1:], id=name) for name, words in commands()]
)
def test_every_command_names_settings_that_there_are(verb, overrides):
    assert compose(verb, overrides)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_written_as_systemd_asks(unit, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/midcut/bin/midcut", sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False, timeout=120
    )
    assert verified.returncode == 0, verified.stderr
    assert unit.name not in verified.stderr


def certificates(*words):
    return subprocess.run([DEPLOY / "certificates", *words], capture_output=True, text=True, check=False, timeout=120)


def answer(url):
    request = urllib.request.Request(f"{url}/v1/infer", DIGIT.read_bytes(), {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


def test_edge_and_cloud_trust_the_certificates(tmp_path):
    keys = tmp_path / "keys"
    assert certificates(keys, "localhost", "127.0.0.1", "::1").returncode == 0
    ours = (
        f"server.tls_cert={keys}/cloud.pem",
        f"server.tls_key={keys}/cloud.key",
        f"server.tls_client_ca={keys}/ca.pem",
    )
    theirs = (
        f"transport.tls_cert={keys}/edge.pem",
        f"transport.tls_key={keys}/edge.key",
        f"transport.tls_ca={keys}/ca.pem",
    )
    with server("cloud", tmp_path / "cloud.log", "model=mnist", "server.port=0", *ours) as cloud:
        assert cloud.startswith("https://")
        fixed = ("telemetry=constant", "cuts.last_cut=3", "input.port=0", f"cloud_url={cloud}")
        with server("edge", tmp_path / "edge.log", "model=mnist", *fixed, *theirs) as edge:
            assert answer(edge)["finished_by"] == "cloud"


def test_certificates_are_made_once(tmp_path):
    assert certificates(tmp_path, "cloud.example").returncode == 0
    before = (tmp_path / "cloud.pem").read_bytes()
    again = certificates(tmp_path, "cloud.example")
    assert again.returncode == 0
    assert "is there already" in again.stderr
    assert (tmp_path / "cloud.pem").read_bytes() == before
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0


def test_a_certificate_that_cannot_be_made_leaves_nothing_and_says_why(tmp_path):
    refused = certificates(tmp_path, "1.2.3")
    assert refused.returncode == 1
    assert "bad ip address" in refused.stderr
    assert not list(tmp_path.glob("cloud.*"))
    assert certificates(tmp_path, "cloud.example").returncode == 0
    (tmp_path / "ca.key").unlink()
    (tmp_path / "edge.pem").unlink()
    refused = certificates(tmp_path, "cloud.example")
    assert refused.returncode == 1
    assert "edge.pem needs" in refused.stderr
    assert not (tmp_path / "edge.pem").exists()


def test_certificates_without_a_name_are_refused(tmp_path):
    refused = certificates(tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A cloud and an edge that have answered some requests, and a function that sends further ones."""
    folder = tmp_path_factory.mktemp("observed")
    with server("cloud", folder / "cloud.log", "model=mnist", "server.port=0") as cloud:
        fixed = ("telemetry=constant", "cuts.last_cut=3", "input.port=0", f"cloud_url={cloud}")
        with server("edge", folder / "edge.log", "model=mnist", *fixed) as edge:
            yield cloud, edge


def test_the_dashboard_asks_for_metrics_that_there_are(observed):
    there = ""
    for url in observed:
        with urllib.request.urlopen(f"{url}/metrics", timeout=60) as reply:
            there += reply.read().decode()
    families = set(re.findall(r"^# TYPE (\S+)", there, re.MULTILINE))
    for title, query in QUERIES:
        for name in re.findall(r"\b(?:midcut|process)_\w+", query):
            assert families & {name, re.sub(r"_(bucket|sum|count)$", "", name)}, title


@pytest.fixture(scope="module")
def prometheus(observed, tmp_path_factory):
    """Prometheus with the configuration that ships, on other addresses and more often; its API's address."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = (DEPLOY / "grafana" / "prometheus.yml").read_text().replace("5s", "1s")
    for name, url in zip(("cloud:8700", "edge:8701"), observed, strict=True):
        assert name in config
        config = config.replace(name, urllib.parse.urlsplit(url).netloc)
    (folder / "prometheus.yml").write_text(config)
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}")
    log = (folder / "prometheus.log").open("w")
    with log, subprocess.Popen(["prometheus", *options], cwd=folder, stderr=log) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def result(prometheus, query):
    """What Prometheus answers to a query, with Grafana's variables filled in; None while it does not answer."""
    filled = query.replace("$__rate_interval", "1m").replace("$edge", ".*").replace("$cloud", ".*")
    try:
        with urllib.request.urlopen(
            f"{prometheus}/api/v1/query?query={urllib.parse.quote(filled)}", timeout=60
        ) as reply:
            return json.load(reply)["data"]["result"]
    except OSError:
        return None


# Nothing of the kind has happened, and a counter with labels shows nothing before its first event.
EMPTY = {"Refused or given up, a second"}


def test_every_query_of_the_dashboard_gives_a_value(observed, prometheus):
    missing = {title for title, _ in QUERIES} - EMPTY
    deadline = time.monotonic() + 120
    while missing and time.monotonic() < deadline:
        answer(observed[1])
        time.sleep(0.5)
        for title, query in QUERIES:
            values = [value for series in result(prometheus, query) or () for value in series["value"][1:]]
            if values and "NaN" not in values:
                missing.discard(title)
    assert not missing
    assert all(result(prometheus, query) is not None for _, query in QUERIES)
