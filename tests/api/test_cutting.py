"""The five lines of the README."""

from __future__ import annotations

import pytest
import torch

import midcut
from midcut.errors import ConfigError, ForecastError
from midcut.graph import partition
from midcut.settings import Capture, CutSettings


def test_both_halves_give_the_whole_at_every_cut_and_a_plan_picks_one(tiny_model, single_threaded):
    del single_threaded
    (example,) = tiny_model.example
    net = midcut.cut(tiny_model.module, example)
    with torch.no_grad():
        whole = tiny_model.module(example)
    for cut in net.cuts:
        assert torch.equal(net.tail(cut)(net.head(cut)(example)), whole)
    fast = net.plan(clock_mhz=1200, bandwidth_kbps=5000, ping_ms=30, w=0.0)
    assert [row["cut"] for row in fast.rows] == list(net.cuts)
    assert min(fast.rows, key=lambda row: row["latency_s"])["cut"] == fast.cut
    cheap = net.plan(clock_mhz=1200, bandwidth_kbps=5000, ping_ms=30, w=1.0)
    assert min(cheap.rows, key=lambda row: row["cost_usd"])["cost_usd"] == next(
        row["cost_usd"] for row in cheap.rows if row["cut"] == cheap.cut
    )
    assert "estimated" in fast.based_on["edge"]


def test_what_cannot_be_is_one_clear_error(tiny_model):
    net = midcut.cut(tiny_model.module, tiny_model.example[0])
    with pytest.raises(ConfigError, match="cut 99 is not on offer; the cuts are 0 to 9"):
        net.head(99)
    with pytest.raises((ConfigError, ForecastError), match="from 0"):
        net.plan(w=7.0)
    with pytest.raises(AttributeError, match="module 'midcut' has no attribute 'nothing'"):
        _ = midcut.nothing


def test_a_plan_leaves_the_threads_of_the_program_alone(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("MIDCUT_CACHE", str(tmp_path))
    net = midcut.cut(tiny_model.module, tiny_model.example[0])
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        net.plan(edge="auto")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["../up", "a" * 300])
def test_a_model_of_any_name_has_files_in_the_folders_of_the_cache(tiny_model, tmp_path, monkeypatch, name):
    monkeypatch.setenv("MIDCUT_CACHE", str(tmp_path / "cache"))
    midcut.cut(tiny_model.module, tiny_model.example[0], name=name).plan(edge="auto")
    assert len(list((tmp_path / "cache" / "profiles").glob("*.json"))) == 1
    files = [path.relative_to(tmp_path).parts for path in tmp_path.rglob("*") if path.is_file()]
    assert {parts[:2] for parts in files} <= {("cache", folder) for folder in ("profiles", "speeds", "onnx")}


def test_the_settings_of_a_capture_have_a_public_name(tiny_model):
    captured = partition(tiny_model, CutSettings(capture=Capture.export, first_cut=2))
    assert captured.legal[0] == 2
    assert captured.table.capture == "export"
