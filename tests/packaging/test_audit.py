"""What is known of the dependencies: the bill of materials, and an audit that never passes silently."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

AUDIT = Path(__file__).parents[2] / "tools" / "audit"


def test_the_bill_of_materials_lists_what_is_installed(tmp_path):
    file = tmp_path / "sbom.json"
    subprocess.run([sys.executable, AUDIT, "--sbom", file], check=True, capture_output=True, timeout=300)
    bill = json.loads(file.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "midcut")
    versions = {part["name"]: part["version"] for part in bill["components"]}
    for name in ("aiohttp", "torch", "msgspec", "hydra-core", "prometheus-client"):
        assert versions[name] == metadata.version(name)
    references = {part["bom-ref"] for part in bill["components"]}
    needs = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    assert (
        f"pkg:pypi/aiohappyeyeballs@{metadata.version('aiohappyeyeballs')}"
        in needs[f"pkg:pypi/aiohttp@{metadata.version('aiohttp')}"]
    )
    assert all(set(each) <= references for each in needs.values())


def test_an_audit_without_a_network_is_skipped_loudly(tmp_path):
    found = subprocess.run(
        [sys.executable, AUDIT],
        env={"PATH": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0
    assert found.stderr.startswith("SKIPPED: no audit of dependencies: ")
