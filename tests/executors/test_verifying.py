"""Networks whose output hardly depends on the input: a wrong runtime must not pass for a right one."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import structlog
import torch
from torch import nn

from midcut.config.settings import CutSettings
from midcut.errors import ExecutorError
from midcut.graph import partition
from midcut.types import LoadedModel

runtime = pytest.importorskip("midcut_executors.onnxruntime", reason="needs the extra `onnx`", exc_type=ImportError)
OnnxRuntime = runtime.OnnxRuntime
OUTPUTS = 5


def network(last_weight):
    """Convolutions, and a last layer of so small weights that its bias hides what it is given."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Linear(8 * 64, OUTPUTS)
        module = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1), nn.Flatten(), head
        )
        nn.init.normal_(head.weight, std=last_weight) if last_weight else nn.init.zeros_(head.weight)
        nn.init.ones_(head.bias)
    example = (torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)),)
    return partition(LoadedModel("flat", module.eval(), example, lambda _: example[0]), CutSettings())


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache(cache, monkeypatch):
    monkeypatch.setenv("MIDCUT_CACHE", str(cache))


class Deaf(OnnxRuntime):
    """Answers every request as its first one."""

    def _session(self, *given):
        compiled, first = super()._session(*given), []

        def run(arrays):
            if not first:
                first.extend(compiled.run(arrays))
            return [array.copy() for array in first]

        return compiled._replace(run=run)


class Wrong(OnnxRuntime):
    """Computes every value wrongly but the output."""

    def _session(self, *given):
        compiled = super()._session(*given)

        def run(arrays):
            return [array * np.float32(1.05 if array.size > OUTPUTS else 1.0) for array in compiled.run(arrays)]

        return compiled._replace(run=run)


def prepare(make, parts, cut=None):
    last = parts.table.last
    with closing(make(1, None, 32)) as executor, structlog.testing.capture_logs() as logs:
        executor.prepare(parts, *((0, last) if cut is None else (cut, last)))
    return [entry["event"] for entry in logs if entry["log_level"] == "warning"]


@pytest.mark.parametrize("last_weight", [0.0, 1e-9, 2e-5])
def test_a_right_runtime_passes(last_weight):
    parts = network(last_weight)
    for cut in (None, *parts.legal[1:-1]):
        warnings = prepare(OnnxRuntime, parts, cut)
    assert len(warnings) == 0
    warned = prepare(OnnxRuntime, parts)
    expected = ["the model's output hardly depends on its input: it is compared at cut 4, too"]
    assert warned == (expected if last_weight < 1e-6 else [])


def test_a_runtime_that_ignores_its_input_is_refused_where_that_changes_the_output_less_than_the_tolerance():
    parts = network(2e-5)
    for cut in (None, 2):
        with pytest.raises(ExecutorError, match=r"does not follow its input as PyTorch does"):
            prepare(Deaf, parts, cut)


@pytest.mark.parametrize("make", [Deaf, Wrong])
def test_a_wrong_runtime_is_refused_where_the_output_does_not_depend_on_the_input_at_all(make):
    with pytest.raises(ExecutorError, match=r"differs from PyTorch by|does not follow its input"):
        prepare(make, network(0.0))


def test_a_network_in_which_nothing_depends_on_the_input_is_said_to_prove_little():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 64, 3))
    with torch.no_grad():
        for layer in (module[0], module[2]):
            layer.weight.zero_()
            layer.bias.fill_(1.0)
    example = (torch.rand(1, 3, 8, 8),)
    parts = partition(LoadedModel("constant", module.eval(), example, lambda _: example[0]), CutSettings())
    assert prepare(OnnxRuntime, parts) == [
        "the model's output hardly depends on its input: no cut has values that do, so this proves little"
    ]
