from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from midcut.cli.verbs import edge
from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.errors import ConfigError, ExecutorError, FileError, GraphError
from midcut.exported import ExportedNetwork, read_folder, writing
from midcut.exported.folder import digest

DIGITS = Path(__file__).parents[2] / "plugins/midcut_models/digits"

# A real edge process, which says at its end what it has imported.
EDGE = """
import sys
from midcut.cli import main
sys.argv = ["midcut", *sys.argv[1:]]
main()
print("imported", sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "torchvision", "onnx", "scipy"}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("onnxscript")
    from midcut.cli.verbs import export

    path = tmp_path_factory.mktemp("exported") / "mnist"
    export.run(compose("export", ["model=mnist", f"out={path}"]))
    return path


def _edge(folder, cwd, *overrides):
    line = ["edge", "model=exported", f"model.exported.folder={folder}", "executor=onnxruntime", "telemetry=constant"]
    stream = ["input=folder", f"input.path={DIGITS}", "input.limit=8", "input.plot=false", "hydra.run.dir=out"]
    return subprocess.run(
        [sys.executable, "-c", EDGE, *line, *stream, *overrides],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"MIDCUT_CACHE": str(cwd / "cache")},
    )


def _records(cwd):
    return [json.loads(line) for line in (cwd / "out/results.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def unsplit():
    from PIL import Image

    from midcut.graph import partition
    from midcut_models.mnist import Mnist

    model = Mnist(name="mnist").load()
    answers = {}
    for file in sorted(DIGITS.glob("*.png"))[:8]:
        answers[file.name] = model.module(model.preprocess(Image.open(file))).exp().detach().numpy()[0]
    return partition(model, CutSettings()), answers


@pytest.mark.parametrize(("cut", "codec"), [(5, "raw"), (8, "zstd"), (0, "webp"), (13, "raw")])
def test_an_edge_without_torch_answers_as_the_unsplit_model_with_a_cloud_in_pytorch(
    folder, unsplit, running_cloud, tmp_path, cut, codec
):
    captured, expected = unsplit
    codecs = build_each(Kind.CODEC, compose("cloud", ["codec=[webp,zstd]"]).codec)
    with running_cloud(captured, codecs=codecs) as url:
        only = [f"cuts.first_cut={cut}", f"cuts.last_cut={cut}", f"codec={codec}", f"cloud_url={url}"]
        finished = _edge(folder, tmp_path, *only)
    assert finished.returncode == 0, finished.stderr
    assert "imported []" in finished.stdout
    records = _records(tmp_path)
    assert len(records) == 8
    for record in records:
        assert record["cut"] == cut
        assert record["finished_by"] == ("edge" if cut == 13 else "cloud")
        assert record["class"] == int(expected[Path(record["file"]).name].argmax())


def test_without_a_cloud_the_tail_runs_in_onnx_runtime(folder, unsplit, tmp_path):
    finished = _edge(folder, tmp_path, "cuts.first_cut=5", "cuts.last_cut=5", "cloud_url=http://127.0.0.1:9")
    assert finished.returncode == 0, finished.stderr
    assert "imported []" in finished.stdout
    assert {(record["finished_by"], record["class"]) for record in _records(tmp_path)} == {
        ("edge", int(probabilities.argmax())) for probabilities in unsplit[1].values()
    }


def test_a_cloud_with_other_weights_is_not_used(folder, running_cloud, tmp_path):
    import torch

    from midcut.graph import partition
    from midcut_models.mnist import Mnist

    model = Mnist(name="mnist").load()
    with torch.no_grad():
        model.module[0].weight[0, 0, 0, 0] += 1.0
    with running_cloud(partition(model, CutSettings())) as url:
        finished = _edge(folder, tmp_path, f"cloud_url={url}")
    assert finished.returncode == 0, finished.stderr
    assert "weights" in finished.stderr
    assert {record["finished_by"] for record in _records(tmp_path)} == {"edge"}


def test_every_head_and_tail_gives_the_values_of_the_captured_model(folder, unsplit):
    import torch

    from midcut.exported import ExportedNetwork, read_folder

    captured = unsplit[0]
    network = ExportedNetwork(read_folder(folder), CutSettings())
    assert network.legal == captured.legal
    assert network.table == captured.table
    for batch in (1, 2):
        inputs = (torch.randn(batch, 1, 28, 28, generator=torch.Generator().manual_seed(batch)),)
        output = captured.tail(0, inputs)[0]
        for cut in network.legal:
            values, expected = network.head(cut, inputs), captured.head(cut, inputs)
            for value, other in zip(values, expected, strict=True):
                np.testing.assert_allclose(np.asarray(value), other.numpy(), atol=1e-5)
            np.testing.assert_allclose(np.asarray(network.tail(cut, expected)[0]), output.numpy(), atol=1e-5)


def test_its_probe_is_that_of_the_captured_model(folder, unsplit):
    from midcut.exported import ExportedNetwork, read_folder
    from midcut.graph.probe import difference

    network = ExportedNetwork(read_folder(folder), CutSettings())
    assert network.probe.inputs == unsplit[0].probe.inputs
    assert difference(network.probe, unsplit[0].probe) == ""


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (shutil.rmtree, "is no exported model: manifest.json: No such file"),
        (lambda path: (path / "manifest.json").write_text("{}"), "has format ''"),
        (lambda path: (path / "manifest.json").write_text("weights"), "is no exported model: manifest.json: JSON"),
        (
            lambda path: (path / "manifest.json").write_text(
                (path / "manifest.json").read_text().replace("midcut-export/2", "midcut-export/9")
            ),
            "has format 'midcut-export/9', this midcut reads 'midcut-export/2'",
        ),
        (lambda path: (path / "graphs.zip").write_bytes(b"PK"), "graphs.zip was changed after the export"),
        (lambda path: (path / "weights.bin").unlink(), "weights.bin: No such file"),
        (lambda path: (path / "example.safetensors").write_bytes(b""), "example.safetensors was changed"),
    ],
)
def test_a_folder_that_is_no_whole_export_is_one_line(folder, tmp_path, damage, part):
    path = tmp_path / "copy"
    shutil.copytree(folder, path)
    damage(path)
    cfg = compose("edge", ["model=exported", f"model.exported.folder={path}", "telemetry=constant", "input.port=0"])
    with pytest.raises(GraphError) as caught:
        edge.run(cfg)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def _damage_graphs(folder, path, damaged):
    """Copy an export with an operator that no runtime has in some of its graphs, and digests that fit."""
    shutil.copytree(folder, path)
    manifest = json.loads((path / "manifest.json").read_text())
    with zipfile.ZipFile(folder / "graphs.zip") as old, zipfile.ZipFile(path / "graphs.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"Gemm", b"Xemm") if name in damaged else old.read(name))
    manifest["digests"]["graphs.zip"] = digest(path / "graphs.zip")
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("damaged", ["0-10.onnx", "8-13.onnx"])
def test_a_cut_with_an_operator_that_the_runtime_lacks_is_run_as_the_whole_model(folder, unsplit, tmp_path, damaged):
    _damage_graphs(folder, tmp_path / "copy", [damaged])
    cut = 10 if damaged.startswith("0") else 8
    only = [f"cuts.first_cut={cut}", f"cuts.last_cut={cut}", "cloud_url=http://127.0.0.1:9"]
    finished = _edge(tmp_path / "copy", tmp_path, *only)
    assert finished.returncode == 0, finished.stderr
    assert {Path(record["file"]).name: record["class"] for record in _records(tmp_path)} == {
        name: int(probabilities.argmax()) for name, probabilities in unsplit[1].items()
    }
    (line,) = [line for line in finished.stderr.splitlines() if "a segment cannot run" in line]
    assert "ONNX Runtime does not take nodes" in line


def test_a_whole_model_that_the_runtime_does_not_take_is_one_line(folder, tmp_path):
    _damage_graphs(folder, tmp_path / "copy", ["0-13.onnx"])
    finished = _edge(tmp_path / "copy", tmp_path)
    assert finished.returncode == 1
    (line,) = [line for line in finished.stderr.splitlines() if line.startswith("midcut edge: ")]
    assert "ONNX Runtime does not take nodes 0 to 13" in line
    assert "Traceback" not in finished.stderr


def test_an_executor_that_needs_torch_is_refused(folder):
    exported = ["model=exported", f"model.exported.folder={folder}", "telemetry=constant", "input.port=0"]
    with pytest.raises(ConfigError, match="executor=native needs PyTorch; an exported model runs in ONNX Runtime"):
        edge.run(compose("edge", [*exported, "executor=native"]))


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("executor.threads=0", r"executor\.threads=0 must be 1 or more, or null"),
        ("executor.accuracy=bits", r"executor\.accuracy=bits needs PyTorch"),
        ("executor.accuracy=fast", r"executor\.accuracy=fast needs PyTorch"),
    ],
)
def test_what_an_exported_model_cannot_promise_is_one_line(folder, setting, reason):
    exported = ["model=exported", f"model.exported.folder={folder}", "telemetry=constant", "input.port=0"]
    with pytest.raises(ConfigError, match=reason):
        edge.run(compose("edge", [*exported, "executor=onnxruntime", setting]))


@pytest.mark.parametrize("where", ["file/export", "/proc/none/export"])
def test_an_export_to_where_nothing_can_be_written_is_one_line(tmp_path, where):
    from midcut.cli.verbs import export

    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"export cannot be written: .*; out=FOLDER names another folder"):
        export.run(compose("export", ["model=mnist", f"out={tmp_path / where}"]))


@pytest.mark.parametrize("size", [(224, 224), (500, 333), (91, 640), (256, 300), (30, 31), (2000, 20)])
def test_pictures_become_inputs_bit_by_bit_as_torchvision_makes_them(size):
    import torch
    from PIL import Image

    from midcut_models.classification import _make_preprocess
    from midcut_models.torchvision_shim import import_torchvision

    pixels = np.random.RandomState(0).randint(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(pixels)
    models = import_torchvision().models
    for name in ("alexnet", "efficientnet_b1"):
        transforms = models.get_model_weights(name).DEFAULT.transforms()
        found = _make_preprocess(transforms)(image)
        longest = 16 * min(size)
        if max(size) <= longest:
            assert torch.equal(found, transforms(image).unsqueeze(0))


@pytest.fixture
def replaceable(folder, tmp_path):
    """A copy of the export, and a function that exports other weights into it."""
    pytest.importorskip("onnxscript")
    from safetensors.torch import load_file, save_file

    from midcut.cli.verbs import export

    path = tmp_path / "mnist"
    shutil.copytree(folder, path)
    shipped = DIGITS.with_name("mnist.safetensors")
    save_file({name: value * 0.5 for name, value in load_file(shipped).items()}, tmp_path / "other.safetensors")
    overrides = ["model=mnist", f"model.mnist.weights={tmp_path / 'other.safetensors'}", f"out={path}"]
    return path, lambda: export.run(compose("export", overrides))


def test_an_export_into_a_folder_in_use_is_never_mixed_with_the_one_that_was_loaded(replaceable):
    path, export_anew = replaceable
    network = ExportedNetwork(read_folder(path), CutSettings())
    example = network.example
    whole, head = network.tail(0, example), network.head(4, example)
    export_anew()
    for cut in range(1, network.table.last):
        if cut == 4:
            continue
        with pytest.raises(ExecutorError, match=f"^{path} was exported anew or changed since it was loaded; start"):
            network.head(cut, example)
    np.testing.assert_array_equal(network.tail(0, example)[0], whole[0])
    np.testing.assert_array_equal(network.head(4, example)[0], head[0])
    assert ExportedNetwork(read_folder(path), CutSettings()).table.weights != network.table.weights


@pytest.mark.parametrize("one_step", [True, False])
def test_a_kill_while_an_export_is_replaced_leaves_a_whole_one(replaceable, monkeypatch, one_step):
    path, export_anew = replaceable
    before, remove = read_folder(path).manifest.table.weights, shutil.rmtree

    def killed(where, **settings):
        remove(where, **settings)
        raise KeyboardInterrupt

    if not one_step:
        monkeypatch.setattr(writing, "_exchange", lambda *_: False, raising=False)
    monkeypatch.setattr(writing.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        export_anew()
    assert read_folder(path).manifest.table.weights != before
