"""Captured models on disk: read back they are the same, damaged or outdated they are made anew."""

from __future__ import annotations

import copy
import importlib
import os
import sys
from unittest import mock

import pytest
import structlog
import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn

from midcut.config.settings import Capture, CutSettings
from midcut.errors import GraphError
from midcut.graph import assembly
from midcut.graph.cache import cache_key
from midcut.graph.verify import same_bits
from midcut.types import LoadedModel


class Rotary(nn.Module):
    """A table made at the first call, a constant in the code, a mask, sizes and a strided view."""

    def __init__(self, factor=2.0):
        super().__init__()
        self.mix, self.table, self.factor = nn.Linear(8, 8), None, factor
        self.register_buffer("mask", torch.zeros(5, 5).fill_(-9.0).triu(1), persistent=False)

    def forward(self, x):
        if self.table is None:
            self.table = torch.arange(x.shape[1] * 8.0).reshape(-1, 8).cos()
        q, k = self.mix(x * self.table).chunk(2, -1)
        y = (q @ k.transpose(1, 2) * self.factor + self.mask).softmax(-1) @ k
        return {"y": y, "more": [y.sum(1), x.reshape(x.shape[0], -1) + torch.tensor(0.5)]}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def cut_twice(cut_up, folder, monkeypatch):
    """Cut a module with a cache, and again with any capture forbidden if it must come from the cache."""

    def make(module, again, x, *, cached=True, **settings):
        first = cut_up(module, x, cache=str(folder), **settings)
        with monkeypatch.context() as patch:
            if cached:
                patch.setattr(assembly, "_capture_anew", None)
            return first, cut_up(again, x, cache=str(folder), **settings)

    return make


def made(factor=2.0):
    torch.manual_seed(0)
    return Rotary(factor)


@pytest.mark.parametrize("capture", list(Capture))
def test_a_second_start_has_the_same_cuts_and_answers_without_capturing(capture, cut_twice, assert_exact):
    x = torch.rand(1, 5, 8)
    module = made()
    first, second = cut_twice(made(), module, x, capture=capture)
    assert second.table == first.table
    assert second.legal == first.legal
    assert second.probe == first.probe
    assert [second.expected(cut) for cut in range(len(second.table.cuts))] == [
        first.expected(cut) for cut in range(len(first.table.cuts))
    ]
    assert_exact(second, module, x)
    assert_exact(second, module, torch.rand(3, 5, 8))


def installed_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()


class Tables(nn.Module):
    """It makes a buffer's content at its first call, and has a constant of its own."""

    def __init__(self):
        super().__init__()
        self.inner, self.ready = nn.Linear(4, 4), False
        self.register_buffer("table", torch.zeros(4))

    def forward(self, x):
        if not self.ready:
            self.table.copy_(torch.arange(4.0))
            self.ready = True
        return F.gelu(self.inner(x) + self.table)[..., :2] * torch.ones(2)


@pytest.mark.parametrize("capture", list(Capture))
def test_a_network_of_an_installed_package_starts_again_without_running(capture, cut_up, folder, assert_exact):
    x = torch.rand(1, 3, 8, 8)
    first = cut_up(installed_network(), x, cache=str(folder), capture=capture)
    module = installed_network()
    with mock.patch.object(type(module), "forward", side_effect=AssertionError("it ran")):
        second = cut_up(module, x, cache=str(folder), capture=capture)
    assert (second.table, second.legal, second.probe) == (first.table, first.legal, first.probe)
    assert_exact(second, module, x)
    assert_exact(second, module, torch.rand(3, 3, 8, 8))


@pytest.mark.parametrize("capture", list(Capture))
def test_what_a_module_makes_at_its_first_call_is_there_at_the_next_start(capture, cut_twice, assert_exact):
    module, x = Tables(), torch.rand(1, 4)
    again = copy.deepcopy(module)
    first, second = cut_twice(module, again, x, capture=capture)
    assert second.table == first.table
    assert_exact(second, copy.deepcopy(again), x)


def test_nothing_on_disk_is_pickle(cut_up, folder):
    cut_up(made(), torch.rand(1, 5, 8), cache=str(folder), capture=Capture.export)
    files = sorted(path.suffix for path in folder.iterdir())
    assert files == [".json", ".safetensors"]
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    for path in folder.iterdir():
        assert path.read_bytes()[:1] != b"\x80", "pickle's first byte"
        assert not path.read_bytes().startswith(b"PK"), "torch.save's archive"


@pytest.mark.parametrize("what", ["weight", "attribute", "buffer", "settings", "example"])
def test_another_model_is_captured_anew(what, cut_up, folder, assert_exact):
    x = torch.rand(1, 5, 8)
    cut_up(made(), x, cache=str(folder), capture=Capture.export)
    module, settings = made(3.0 if what == "attribute" else 2.0), {}
    with torch.no_grad():
        if what == "weight":
            module.mix.weight[0, 0] += 1
        if what == "buffer":
            module.mask[0, 0] += 1
    if what == "settings":
        settings["verify"] = False
    if what == "example":
        x = torch.rand(1, 5, 8) + 1
    parts = cut_up(module, x, cache=str(folder), capture=Capture.export, **settings)
    assert len(list(folder.glob("*.json"))) == 2
    assert_exact(parts, module, x)


@pytest.mark.parametrize(
    "damage", ["empty", "torn", "a flipped bit", "another form", "no constants", "other constants"]
)
def test_a_damaged_entry_is_captured_anew_and_it_says_so(damage, cut_up, folder, assert_exact):
    x = torch.rand(1, 5, 8)
    first = cut_up(made(), x, cache=str(folder), capture=Capture.export)
    (entry,), (constants,) = folder.glob("*.json"), folder.glob("*.safetensors")
    body = bytearray(entry.read_bytes())
    if damage == "empty":
        entry.write_bytes(b"")
    elif damage == "torn":
        entry.write_bytes(body[: len(body) // 2])
    elif damage == "a flipped bit":
        body[len(body) // 2] ^= 1
        entry.write_bytes(body)
    elif damage == "another form":
        entry.write_bytes(b"{}")
    elif damage == "no constants":
        constants.unlink()
    else:
        constants.write_bytes(constants.read_bytes()[:-1] + b"\x01")
    module = made()
    with structlog.testing.capture_logs() as logs:
        parts = cut_up(module, x, cache=str(folder), capture=Capture.export)
    if damage != "no constants":
        assert "a captured model is not used" in [line["event"] for line in logs]
    assert parts.table == first.table
    assert_exact(parts, module, x)
    module = made()
    assert_exact(cut_up(module, x, cache=str(folder), capture=Capture.export), module, x)


def test_a_function_that_changed_outside_of_the_class_is_noticed(cut_up, folder):
    factor = 2.0

    class UsesAFunction(nn.Module):
        def forward(self, x):
            return torch.relu(x * scale())

    def scale():
        return factor

    x = torch.rand(1, 4)
    cut_up(UsesAFunction(), x, cache=str(folder), capture=Capture.export)
    factor = 3.0
    with structlog.testing.capture_logs() as logs:
        parts = cut_up(UsesAFunction(), x, cache=str(folder), capture=Capture.export)
    assert [line["reason"] for line in logs if line["event"] == "a captured model is not used"] == [
        "it no longer gives the module's own output bit for bit"
    ]
    assert same_bits(parts.tail(0, (x,))[0], torch.relu(x * 3.0))


def test_a_folder_that_cannot_be_written_is_one_line_and_no_harm(cut_up, tmp_path, assert_exact):
    (tmp_path / "file").write_text("in the way")
    module, x = made(), torch.rand(1, 5, 8)
    with structlog.testing.capture_logs() as logs:
        parts = cut_up(module, x, cache=str(tmp_path / "file" / "cache"))
    assert "the captured model is not kept" in [line["event"] for line in logs]
    assert_exact(parts, module, x)


def test_old_entries_are_dropped(cut_up, folder, monkeypatch):
    monkeypatch.setattr("midcut.graph.cache._MOST_ENTRIES", 2)
    for number in range(4):
        cut_up(made(float(number)), torch.rand(1, 5, 8), cache=str(folder))
        for path in folder.glob("*.json"):
            os.utime(path, (number, path.stat().st_mtime - 10))
    assert len(list(folder.glob("*.json"))) == 2


def test_the_key_is_equal_for_equal_models_whatever_was_called_before():
    x = torch.ones(1, 5, 8)
    keys = {cache_key(LoadedModel("toy", made().eval(), (x,), lambda image: image), CutSettings()) for _ in range(3)}
    assert len(keys) == 1


HELPER = "FACTOR = 2.0\n"
NET = """
import torch
import beside_the_net
class Net(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x * beside_the_net.FACTOR)
"""


@pytest.mark.parametrize("file", ["net_of_the_user.py", "beside_the_net.py"])
def test_an_edited_source_file_is_another_key(file, tmp_path, monkeypatch):
    (tmp_path / "net_of_the_user.py").write_text(NET)
    (tmp_path / "beside_the_net.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("net_of_the_user", "beside_the_net"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("net_of_the_user").Net().eval()
    model = LoadedModel("toy", module, (torch.ones(1, 2),), lambda image: image)
    before = cache_key(model, CutSettings())
    assert cache_key(model, CutSettings()) == before
    (tmp_path / file).write_text((tmp_path / file).read_text() + "# edited\n")
    assert cache_key(model, CutSettings()) != before


def test_a_lazy_module_is_cut_and_not_kept(cut_up, folder, assert_exact):
    module, x = nn.Sequential(nn.LazyLinear(4), nn.ReLU()), torch.rand(1, 3)
    parts = cut_up(module, x, cache=str(folder))
    assert_exact(parts, module, x)
    assert not folder.exists()


@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.rand(1, 3))])
def test_a_torchscript_module_is_refused_in_one_line(make, cut_up, folder):
    with pytest.raises(GraphError, match="Exporting a ScriptModule is not supported") as caught:
        cut_up(make(nn.Sequential(nn.Linear(3, 3), nn.ReLU()).eval()), torch.rand(1, 3), cache=str(folder))
    assert "\n" not in str(caught.value)
