"""What goes wrong with a foreign runtime: missing packages, files that were changed, values that ONNX does not have."""

from __future__ import annotations

import shutil
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest
import structlog
import torch

from midcut.config.settings import CutSettings
from midcut.errors import ConfigError, ExecutorError
from midcut.graph import partition
from midcut.graph.segments import Segments
from midcut.testing import TorchExecutor
from midcut.testing.networks import small_network
from midcut.types import LoadedModel
from midcut_executors import choosing
from midcut_executors.config import Accuracy
from midcut_executors.native import Native

runtime = pytest.importorskip("midcut_executors.onnxruntime", reason="needs the extra `onnx`", exc_type=ImportError)
OnnxRuntime = runtime.OnnxRuntime
runtime_module = pytest.importorskip("midcut_executors.runtime")
export_cache = pytest.importorskip("midcut_executors.export_cache")
weight_pool = pytest.importorskip("midcut_executors.weight_pool")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIDCUT_CACHE", str(tmp_path))
    return tmp_path / "onnx"


def prepare(network):
    with closing(OnnxRuntime(1, 1e-3, 8)) as executor, structlog.testing.capture_logs() as logs:
        inputs = [torch.rand(1, 3, 12, 12)]
        values, _ = executor.prepare(network, 0, network.table.last).run(inputs)
        expected = network.run(0, network.table.last, inputs)
        assert torch.allclose(values[0], expected[0], atol=1e-5)
    return [entry["reason"] for entry in logs if "made anew" in entry["event"]]


def test_a_second_process_finds_the_export(cache):
    network = small_network()
    prepare(network)
    (folder,) = cache.iterdir()
    written = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert prepare(network) == []
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == written


def test_an_export_that_was_removed_from_the_cache_is_made_anew(cache):
    network, inputs = small_network(), [torch.rand(1, 3, 12, 12)]
    with closing(OnnxRuntime(1, 1e-3, 8)) as executor, structlog.testing.capture_logs() as logs:
        head = executor.prepare(network, 0, 4)
        shutil.rmtree(cache)
        tail = executor.prepare(network, 4, network.table.last)
        values, _ = tail.run(head.run(inputs)[0])
    assert torch.allclose(values[0], network.run(0, network.table.last, inputs)[0], atol=1e-5)
    assert [entry["reason"] for entry in logs if "made anew" in entry["event"]] == ["it is gone"]


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.usefixtures("cache")
def test_weights_over_what_one_message_holds_are_read_from_a_file(monkeypatch, name):
    pytest.importorskip(name, reason=f"needs the extra of {name}")
    monkeypatch.setattr(runtime_module, "_LARGEST_BYTES", 1)  # instead of 2.5 GB of weights
    network, inputs = small_network(), [torch.rand(1, 3, 12, 12)]
    last = network.table.last
    with closing(choosing.by_name(name)) as executor:
        head, tail = (executor.prepare(network, *ends) for ends in ((0, 4), (4, last)))
        values, _ = tail.run(head.run(inputs)[0])
        assert "given.weights" not in Path("/proc/self/maps").read_text()
    assert torch.allclose(values[0], network.run(0, last, inputs)[0], atol=1e-5)


@pytest.mark.usefixtures("cache")
def test_weights_that_no_optimisation_changed_lie_in_pytorchs_memory_alone():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 600)).eval()
    inputs = [torch.rand(1, 512)]
    network = partition(LoadedModel("wide", module, (inputs[0],), lambda _: inputs[0]), CutSettings())
    in_torch = {parameter.data_ptr() for parameter in module.parameters() if parameter.dim() == 2}
    with closing(OnnxRuntime(1, 1e-3, 8)) as executor:
        segment = executor.prepare(network, 0, network.table.last)
        assert in_torch <= {weight.value.data_ptr() for weight in segment.weights}
        assert "weights.bin" not in Path("/proc/self/maps").read_text()
        values, _ = segment.run(inputs)
    assert torch.allclose(values[0], module(inputs[0]), atol=1e-5)


@pytest.mark.usefixtures("cache")
def test_weights_that_an_optimisation_changed_begin_where_a_line_of_the_cache_does():
    with closing(OnnxRuntime(1, 1e-3, 8)) as executor:
        network = small_network()
        weights = executor.prepare(network, 0, network.table.last).weights
    assert weights
    assert {weight.value.data_ptr() % 64 for weight in weights} == {0}


def test_a_refusal_names_what_the_errors_of_a_compilers_passes_were_raised_from():
    class Wrapping(TorchExecutor):
        def ready(self, network, start, stop):  # noqa: ARG002
            return False

        def prepare(self, network, start, stop):  # noqa: ARG002
            raise RuntimeError("a pass failed: <object at 0x7f>") from FileNotFoundError("no file 'weights.bin'")

    network = small_network()
    with closing(Segments(Wrapping())) as segments, structlog.testing.capture_logs() as logs:
        assert not segments.prepare(network, 0, 4)
    assert [entry["reason"] for entry in logs] == ["FileNotFoundError: no file 'weights.bin'"]


@pytest.mark.usefixtures("cache")
def test_weights_of_a_graph_are_released_when_its_segment_is_made(monkeypatch):
    network, graphs = small_network(), []
    compile_part = OnnxRuntime._compile_part

    def keep(self, network, model):  # as cycles among its nodes would keep it, until they are collected
        graphs.append(model)
        return compile_part(self, network, model)

    monkeypatch.setattr(OnnxRuntime, "_compile_part", keep)
    with closing(OnnxRuntime(1, 1e-3, 8)) as executor:
        for start, stop in ((0, 3), (3, network.table.last)):
            executor.prepare(network, start, stop)
    assert len(graphs) >= 2
    for graph in graphs:
        assert not [value for value in graph.graph.initializers.values() if value.const_value is not None]


def test_an_export_of_a_process_that_was_faster_stays_as_it_may_be_in_use(cache, monkeypatch):
    network = small_network()
    prepare(network)
    (folder,) = cache.iterdir()
    inode = folder.stat().st_ino
    monkeypatch.setattr(export_cache.ExportCache, "read", lambda _: None)  # it was not there yet
    prepare(network)
    assert [(each, each.stat().st_ino) for each in cache.iterdir()] == [(folder, inode)]


@pytest.mark.parametrize("name", ["model.onnx", "weights.bin", "index.json"])
@pytest.mark.parametrize("how", ["changed", "cut short", "missing"])
def test_an_export_that_was_damaged_is_made_anew_with_one_line(cache, name, how):
    network = small_network()
    prepare(network)
    (folder,) = cache.iterdir()
    file = folder / name
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-9] if how == "cut short" else content[:-1] + bytes([content[-1] ^ 1]))
    reasons = prepare(network)
    assert len(reasons) == 1
    assert "\n" not in reasons[0]
    assert prepare(network) == []


def test_an_export_of_other_weights_is_not_used(cache):
    network = small_network()
    prepare(network)
    (folder,) = cache.iterdir()
    index = msgspec.json.decode((folder / "index.json").read_bytes())
    (folder / "index.json").write_bytes(msgspec.json.encode({**index, "fingerprint": "another"}))
    assert prepare(network) == ["it is of another model, or made by other versions"]


@pytest.mark.parametrize(("name", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_runtime_that_is_not_installed_is_one_line_with_the_command_and_pytorch_answers(monkeypatch, name, extra):
    monkeypatch.setattr(choosing.importlib.util, "find_spec", lambda package: None if package == name else object())
    with structlog.testing.capture_logs() as logs:
        executor = getattr(choosing, name)(threads=None, tolerance=1e-3, segments=8)
    assert executor.identity.startswith("native torch")
    (line,) = logs
    assert line["event"] == f"executor={name} needs {name}, not installed here: PyTorch runs the model"
    assert f"midcut[{extra}]" in line["better"]


@pytest.mark.parametrize("name", ["onnxruntime", "Auto"])
@pytest.mark.parametrize(("setting", "value"), [("threads", 0), ("tolerance", 0.0), ("segments", 1)])
def test_a_setting_out_of_bounds_is_one_line(name, setting, value):
    with pytest.raises(ConfigError, match=rf"executor\.{setting}={value:g} must be"):
        getattr(choosing, name)(**{"threads": None, "tolerance": 1e-3, "segments": 8} | {setting: value})


def test_auto_without_runtimes_is_pytorch(monkeypatch):
    monkeypatch.setattr(choosing.importlib.util, "find_spec", lambda _: None)
    network = small_network()
    auto = choosing.Auto(None, 1e-3, 8)
    inputs = [torch.rand(1, 3, 12, 12)]
    with structlog.testing.capture_logs() as logs:
        values, _ = auto.prepare(network, 0, network.table.last).run(inputs)
    assert torch.equal(values[0], network.run(0, network.table.last, inputs)[0])
    assert auto.identity.startswith("native torch")
    assert [entry["reason"] for entry in logs] == ["no other runtime is installed: pip install 'midcut[onnx]'"]


@pytest.mark.usefixtures("cache")
def test_auto_stays_with_pytorch_where_nothing_is_faster():
    network = small_network()

    class Slow(TorchExecutor):
        identity = "slow"

        def run(self, segment):
            return segment(), 1.0

    auto = choosing.Auto(1, 1e-3, 8)
    auto._candidates = [auto._candidates[0], Slow()]
    auto.prepare(network, 0, network.table.last)
    assert auto.identity.startswith("native torch")
    assert not auto.fused


@pytest.mark.usefixtures("cache")
def test_auto_takes_the_fastest_and_says_so():
    network = small_network()

    class Slow(TorchExecutor):
        identity = "slow"

        def run(self, segment):
            return segment(), 1.0

    with closing(choosing.Auto(1, 1e-3, 8)) as auto, structlog.testing.capture_logs() as logs:
        auto._candidates = [Slow(), auto._candidates[1]]
        auto.prepare(network, 0, network.table.last)
        assert auto.identity.startswith("onnxruntime")
    assert [entry["executor"] for entry in logs if entry["event"] == "executor chosen"] == [auto.identity]


@pytest.mark.parametrize("how", ["a file", "a folder that takes no files"])
def test_where_the_cache_cannot_be_written_the_runtime_runs_with_one_line(tmp_path, monkeypatch, how):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MIDCUT_CACHE", str(tmp_path / "file") if how == "a file" else "/proc/self")
    network = small_network()
    last, inputs = network.table.last, [torch.rand(1, 3, 12, 12)]
    with closing(OnnxRuntime(1, None, 8)) as executor, structlog.testing.capture_logs() as logs:
        for cut in (3, last):
            executor.prepare(network, 0, cut)
        assert torch.allclose(executor.prepare(network, 0, last).run(inputs)[0][0], network.run(0, last, inputs)[0])
    lines = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["event"] for entry in lines] == ["the ONNX export is not cached, so the next start makes it anew"]
    assert "\n" not in lines[0]["reason"]


@pytest.mark.usefixtures("cache")
def test_a_model_that_cannot_be_exported_is_tried_once_not_at_every_cut(monkeypatch):
    example = (torch.rand(1, 8),)
    network = partition(LoadedModel("unknown", Unknown().eval(), example, lambda _: example[0]), CutSettings())
    tried = []
    export = torch.onnx.export
    monkeypatch.setattr("torch.onnx.export", lambda *args, **options: tried.append(1) or export(*args, **options))
    with closing(OnnxRuntime(1, None, 8)) as executor:
        for cut in network.legal[1:]:
            with pytest.raises(ExecutorError, match="PyTorch cannot export model 'unknown' to ONNX: No ONNX function"):
                executor.prepare(network, 0, cut)
        assert len(tried) == 3  # for any batch, taken apart, and for one image


@pytest.mark.usefixtures("cache")
def test_auto_passes_over_a_runtime_that_fails_in_any_way():
    network = small_network()

    class Broken(TorchExecutor):
        identity = "broken"

        def prepare(self, *_):
            raise RuntimeError("out of registers\nat 0x0")

    auto = choosing.Auto(1, 1e-3, 8)
    auto._candidates = [auto._candidates[0], Broken()]
    with structlog.testing.capture_logs() as logs:
        auto.prepare(network, 0, network.table.last)
    assert auto.identity.startswith("native torch")
    (line,) = [entry for entry in logs if entry["event"] == "not considered"]
    assert line["reason"] == "RuntimeError: out of registers at 0x0"


class Unknown(torch.nn.Module):
    """A model with an operator that ONNX does not have."""

    def forward(self, x):
        return torch.special.i0e(x) * torch.lgamma(x.abs() + 1.0) + torch.special.bessel_j0(x)


@pytest.mark.usefixtures("cache")
def test_an_operator_that_onnx_lacks_runs_in_pytorch_with_one_line():
    example = (torch.rand(1, 8),)
    network = partition(LoadedModel("unknown", Unknown().eval(), example, lambda _: example[0]), CutSettings())
    segments, last = Segments(OnnxRuntime(1, 1e-3, 8)), network.table.last
    with closing(segments), structlog.testing.capture_logs() as logs:
        segments.prepare(network, 0, last)
        for _ in range(3):
            values, _ = segments.run(network, 0, last, example)
            assert torch.equal(values[0], network.run(0, last, example)[0])
    refused = [entry for entry in logs if entry["event"] == "a segment runs in PyTorch instead"]
    assert len(refused) == 1
    assert "\n" not in refused[0]["reason"]


@pytest.mark.usefixtures("cache")
def test_a_segment_that_differs_from_pytorch_is_refused():
    class Wrong(OnnxRuntime):
        def _session(self, *given):
            compiled = super()._session(*given)
            return compiled._replace(run=lambda arrays: [output * 1.01 for output in compiled.run(arrays)])

    network = small_network()
    with closing(Wrong(1, None, 8)) as executor, pytest.raises(ExecutorError, match=r"differs from PyTorch by"):
        executor.prepare(network, 0, network.table.last)


def test_requests_run_in_pytorch_while_their_segment_is_made_ready():
    network, may_go_on, done = small_network(), threading.Event(), threading.Event()

    class SlowToPrepare(TorchExecutor):
        prepared = False

        def ready(self, network, start, stop):  # noqa: ARG002
            return self.prepared

        def prepare(self, network, start, stop):
            assert may_go_on.wait(60)
            self.prepared = True
            return super().prepare(network, start, stop)

    inputs = [torch.rand(1, 3, 12, 12)]
    with closing(Segments(SlowToPrepare())) as segments:
        segments.prepare_soon(network, 0, 4, done.set)
        values, _ = segments.run(network, 0, 4, inputs)
        assert torch.equal(values[0], network.run(0, 4, inputs)[0])
        assert not segments.ready(network, 0, 4)
        may_go_on.set()
        assert done.wait(60)
        assert segments.ready(network, 0, 4)


def test_a_run_that_the_runtime_cannot_do_is_done_by_pytorch_with_one_line():
    network = small_network()

    class OneImageOnly(TorchExecutor):
        fused = True

        def run(self, segment):
            if segment.args[2][0].shape[0] != 1:
                raise RuntimeError("got 2, expected 1")
            return super().run(segment)

    with closing(Segments(OneImageOnly())) as segments, structlog.testing.capture_logs() as logs:
        for batch in (1, 2, 2):
            inputs = [torch.rand(batch, 3, 12, 12)]
            values, _ = segments.run(network, 0, network.table.last, inputs)
            assert torch.equal(values[0], network.run(0, network.table.last, inputs)[0])
        with pytest.raises(RuntimeError):
            segments.run(network, 0, network.table.last, [torch.rand(2, 1, 12, 12)])  # wrong for PyTorch, too
    assert [entry["reason"] for entry in logs] == ["got 2, expected 1"]


@pytest.mark.usefixtures("cache")
def test_the_segments_used_last_stay_ready():
    network = small_network()
    with closing(OnnxRuntime(1, 1e-3, 3)) as executor:
        for cut in (1, 2, 3):
            executor.prepare(network, 0, cut)
        executor.prepare(network, 0, 1)
        executor.prepare(network, 0, 4)
        assert [executor.ready(network, 0, cut) for cut in (1, 2, 3, 4)] == [True, False, True, True]


class Packing(OnnxRuntime):
    """Says that each segment has a rearranged copy of its weights, beside those that all share."""

    def _session(self, *given):
        made = super()._session(*given)
        return made._replace(weights={**made.weights, object(): 10 * sum(made.weights.values())})


class Copying(OnnxRuntime):
    """Says that each segment has a copy of its weights."""

    def _session(self, *given):
        return super()._session(*given)._replace(weights=None)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("make", "kept"), [(Copying, 4), (Packing, 4), (OnnxRuntime, 7)], ids=["of their own", "both", "shared"]
)
def test_segments_with_large_weights_of_their_own_are_fewer(make, kept, monkeypatch):
    network = wide_network()
    monkeypatch.setattr(runtime_module, "_SMALL_BYTES", 0)
    with closing(make(1, 1e-3, 32)) as executor:
        for cut in range(1, 8):
            executor.prepare(network, 0, cut)
        ready = [executor.ready(network, 0, cut) for cut in range(1, 8)]
    assert ready == [False] * (7 - kept) + [True] * kept


def wide_network():
    """Eight layers of 256 kB; a head of it runs no faster with its matrices rearranged."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(*[torch.nn.Linear(256, 256) for _ in range(8)]).eval()
    example = (torch.rand(1, 256),)
    return partition(LoadedModel("wide", module, example, lambda _: example[0]), CutSettings())


def conv_and_norm():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3)
    )
    with torch.no_grad():
        module.train()(torch.randn(8, 3, 12, 12) * 3.0 + 1.0)  # statistics that are not 0 and 1
    example = (torch.rand(1, 3, 12, 12),)
    return partition(LoadedModel("normed", module.eval(), example, lambda _: example[0]), CutSettings())


@pytest.mark.usefixtures("cache")
def test_bits_refuses_the_cut_that_splits_a_folded_normalisation_and_no_other():
    network = conv_and_norm()
    last, inputs = network.table.last, [torch.randn(1, 3, 12, 12)]
    with closing(OnnxRuntime(1, None, 16, Accuracy.bits)) as executor:
        whole = executor.prepare(network, 0, last).run(inputs)[0]
        refused = []
        for cut in range(1, last):
            try:
                head, tail = executor.prepare(network, 0, cut), executor.prepare(network, cut, last)
            except ExecutorError:
                refused.append(cut)
            else:
                assert torch.equal(tail.run(head.run(inputs)[0])[0][0], whole[0])
    assert refused == [1]


@pytest.mark.usefixtures("cache")
def test_a_refused_cut_is_run_as_the_whole_where_bits_are_promised():
    network = conv_and_norm()
    for accuracy, expected in ((Accuracy.bits, True), (Accuracy.float32, False)):
        with closing(Segments(OnnxRuntime(1, None, 16, accuracy))) as segments:
            segments.prepare(network, 0, 1)
            assert segments.inexact(network, 1) is expected


@pytest.mark.parametrize("lacking", [(0, 2), (2, 4)], ids=["head", "tail"])
def test_of_a_model_without_pytorch_a_cut_is_not_used_where_head_or_tail_cannot_run(lacking):
    class Lacking(Native):
        def prepare(self, network, start, stop):
            if (start, stop) == lacking:
                raise ExecutorError("an operator that this runtime lacks")
            return super().prepare(network, start, stop)

    network = SimpleNamespace(table=SimpleNamespace(key=("m", "f"), last=4, model="m"), has_torch=False, resized=False)
    with closing(Segments(Lacking())) as segments:
        assert [segments.inexact(network, cut) for cut in (0, 1, 2, 3, 4)] == [False, False, True, False, False]


def test_fast_in_onnx_runtime_is_one_line():
    with pytest.raises(
        ConfigError, match=r"executor\.accuracy=fast needs executor\.calibration=FOLDER.*executor=openvino"
    ):
        choosing.onnxruntime(threads=None, tolerance=None, segments=8, accuracy=Accuracy.fast)


def test_weights_that_an_optimisation_made_are_not_taken_for_those_of_an_earlier_segment():
    pool, held = weight_pool.WeightPool(), []
    for number in range(50):  # each is gone when the next is made, which may get its id
        tensor = weight_pool.ir.Tensor(np.full((4, 4), number, np.float32))
        proto = weight_pool.onnx.ModelProto()
        proto.graph.input.add(name="w").type.tensor_type.elem_type = 1
        held.append(pool.insert(proto, "w", tensor, ()))
        del tensor
    assert [weight.value.numpy()[0, 0] for weight in held] == list(range(50))


@pytest.mark.usefixtures("cache")
def test_a_model_that_was_refused_is_tried_again_when_it_was_unloaded_in_between(monkeypatch):
    network = small_network()
    with closing(OnnxRuntime(1, 1e-3, 8)) as executor, closing(Segments(executor)) as segments:
        with monkeypatch.context() as patch:
            patch.setattr(runtime_module, "Exported", Mock(side_effect=ExecutorError("no space left on device")))
            assert not segments.prepare(network, 0, network.table.last)
        assert not segments.prepare(network, 0, network.table.last)  # the next request does not try it again
        segments.drop(network)
        assert segments.prepare(network, 0, network.table.last)
