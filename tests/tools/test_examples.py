"""The examples and the notebook, run as their readers run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "tools" / "examples"


def _run(tmp_path, name, *words):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_network_of_one_s_own_is_cut(tmp_path):
    out = _run(tmp_path, "cut_a_model.py")
    assert out.count("the same bits as the whole") == 10
    assert len(re.findall(r"(?m)^(DSL|LTE|fibre) .*: cut \d+, [\d.]+ ms", out)) == 6


def test_planners_are_compared(tmp_path):
    pytest.importorskip("matplotlib")
    out = _run(tmp_path, "compare_planners.py", "trade.png")
    assert re.search(r"weighted_sum +11 weights", out)
    assert {file.name for file in tmp_path.iterdir()} == {"trade.png", "trade.csv"}
    assert (tmp_path / "trade.csv").read_text().startswith("strategy,w,")


def test_an_edge_and_a_cloud_answer_in_one_program(tmp_path):
    out = _run(tmp_path, "edge_and_cloud.py")
    assert "20 of 20 digits right" in out
    assert "over HTTP: 0000.png is a 7" in out


def test_the_notebook_runs(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]
    assert "7 of 7 cuts give the same bits" in "".join(texts)
    assert any("finished by" in text and "edge" in text for text in texts)
