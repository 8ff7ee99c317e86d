from __future__ import annotations

import csv
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file, save_model

from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.errors import ConfigError, FileError, GraphError
from midcut.graph import partition
from midcut.graph.verify import same_bits
from midcut_models.classification import Torchvision
from midcut_models.mnist import DIGITS, SHIPPED, Mnist
from midcut_models.module import Module
from midcut_models.names import TORCHVISION
from midcut_models.torchvision_shim import _keep_best_boxes, import_torchvision

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (250, 400, 3), dtype=np.uint8))


def module(**changes):
    given = {
        "name": "module",
        "path": "torch.nn.Linear",
        "kwargs": {"in_features": 3, "out_features": 2},
        "input_shapes": [[3]],
        "inputs": {},
        "weights": None,
        "seed": 0,
        "mean": [0.0],
        "std": [1.0],
        "labels": None,
    }
    return Module(**(given | changes))


def test_the_names_are_torchvisions():
    models = import_torchvision().models
    assert list(TORCHVISION) == models.list_models(module=models)
    assert len(TORCHVISION) == 80


def test_listing_the_models_imports_no_torch():
    code = "import sys, midcut_models.hooks as h; print(len(h.midcut_models()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    count, torch_imported = done.stdout.split()
    assert int(count) >= 82  # torchvision's 80, the digit network, any module
    assert torch_imported == "False"


@pytest.mark.parametrize(
    ("name", "size"),
    [("inception_v3", 299), ("vit_b_32", 224), ("swin_v2_t", 256), ("efficientnet_b1", 240), ("resnet18", 224)],
)
def test_example_and_preprocessing_fit_the_model(name, size):
    model = Torchvision(name=name).load()
    assert model.example[0].shape == (1, 3, size, size)
    image = model.preprocess(PHOTO.convert("L"))
    assert image.shape == (1, 3, size, size)
    assert not model.module.training
    with torch.no_grad():
        assert model.module(image).shape == (1, 1000)
    assert len(model.labels) == 1000
    assert model.labels[0] == "tench"
    assert "random weights, seed 0" in model.note


def test_imagenet_normalisation_by_hand():
    grey = Torchvision(name="squeezenet1_1").load().preprocess(Image.new("RGB", (300, 300), (255, 0, 128)))
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (128 / 255 - 0.406) / 0.225]
    assert grey[0, :, 100, 100].tolist() == pytest.approx(expected, abs=1e-5)


def test_seeds_make_equal_weights_and_leave_the_callers_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    states = [Torchvision(name="squeezenet1_1", seed=seed).load().module.state_dict() for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    key = "classifier.1.weight"
    assert torch.equal(states[0][key], states[1][key])
    assert not torch.equal(states[0][key], states[2][key])


def test_num_classes_goes_with_random_weights_only():
    model = Torchvision(name="squeezenet1_1", num_classes=7).load()
    with torch.no_grad():
        assert model.module(*model.example).shape == (1, 7)
    assert model.labels == ()
    with pytest.raises(ConfigError, match="num_classes needs random weights"):
        Torchvision(name="squeezenet1_1", weights="DEFAULT", num_classes=7).load()


def test_an_unknown_weights_name_lists_what_there_is():
    with pytest.raises(ConfigError, match="no weights 'V9'; there are: DEFAULT, IMAGENET1K_V1"):
        Torchvision(name="squeezenet1_1", weights="V9").load()


def test_a_torchvision_model_takes_weights_of_a_file(tmp_path):
    theirs = Torchvision(name="squeezenet1_1", seed=7, num_classes=5).load().module
    save_model(theirs, str(tmp_path / "own.safetensors"))
    model = Torchvision(name="squeezenet1_1", weights=str(tmp_path / "own.safetensors"), num_classes=5).load()
    assert same_bits(list(model.module.state_dict().values()), list(theirs.state_dict().values()))
    assert model.note.startswith(
        f"weights from {tmp_path / 'own.safetensors'}, preprocessing of SqueezeNet1_1_Weights."
    )
    with pytest.raises(GraphError, match="belong to another network"):
        Torchvision(name="squeezenet1_1", weights=str(tmp_path / "own.safetensors")).load()
    with pytest.raises(GraphError, match="midcut convert"):
        Torchvision(name="squeezenet1_1", weights="own.pth").load()


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_file_of_weights_gives_the_network_that_torchvision_makes_for_trained_ones(name, tmp_path):
    build = getattr(import_torchvision().models, name)
    theirs = build(weights=None, transform_input=True, init_weights=False).eval()
    save_model(theirs, str(tmp_path / "own.safetensors"))
    model = Torchvision(name=name, weights=str(tmp_path / "own.safetensors")).load()
    with torch.no_grad():
        assert torch.equal(model.module(model.example[0]), theirs(model.example[0]))


@pytest.mark.parametrize(
    ("name", "transforms"), [("mobilenet_v2", "DEFAULT"), ("mobilenet_v2", "IMAGENET1K_V1"), ("resnet50", "DEFAULT")]
)
def test_a_file_of_weights_has_the_preprocessing_of_default_or_of_the_named_ones(name, transforms, tmp_path):
    models = import_torchvision().models
    weights = models.get_model_weights(name)[transforms]
    save_model(Torchvision(name=name).load().module, str(tmp_path / "own.safetensors"))
    model = Torchvision(name=name, weights=str(tmp_path / "own.safetensors"), transforms=transforms).load()
    theirs = weights.transforms()(PHOTO)
    assert torch.equal(model.preprocess(PHOTO)[0], theirs)
    assert str(weights) in model.note


def test_a_vision_transformer_of_a_file_has_the_size_of_its_weights(tmp_path):
    large = import_torchvision().models.vit_b_16(weights=None, image_size=384)
    save_model(large, str(tmp_path / "own.safetensors"))
    name = "IMAGENET1K_SWAG_E2E_V1"
    model = Torchvision(name="vit_b_16", weights=str(tmp_path / "own.safetensors"), transforms=name).load()
    assert model.example[0].shape == (1, 3, 384, 384)
    with pytest.raises(ConfigError, match=r"model\.vit_b_16\.transforms: vit_b_16 has no weights 'V9'"):
        Torchvision(name="vit_b_16", weights=str(tmp_path / "own.safetensors"), transforms="V9").load()


def test_weights_that_cannot_be_fetched_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    with pytest.raises(GraphError, match=r"could not be fetched .*\.weights=null for random ones") as caught:
        Torchvision(name="squeezenet1_1", weights="DEFAULT").load()
    assert "\n" not in str(caught.value)
    assert "squeezenet1_1-b8a52dc0.pth" in str(caught.value)


def cached(tmp_path, monkeypatch, content):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(content, folder / "squeezenet1_1-b8a52dc0.pth")


def test_weights_go_through_torchvisions_loader(tmp_path, monkeypatch):
    state = Torchvision(name="squeezenet1_1", seed=9).load().module.state_dict()
    cached(tmp_path, monkeypatch, state)
    model = Torchvision(name="squeezenet1_1", weights="IMAGENET1K_V1").load()
    assert all(torch.equal(value, state[key]) for key, value in model.module.state_dict().items())
    assert "IMAGENET1K_V1" in model.note


class Attack:
    marker = ""

    def __reduce__(self):
        return (open, (self.marker, "w"))


def test_a_weights_file_cannot_run_code(tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    monkeypatch.setattr(Attack, "marker", str(marker))
    cached(tmp_path, monkeypatch, Attack())
    with pytest.raises(GraphError, match=r"cannot be used .* delete the file"):
        Torchvision(name="squeezenet1_1", weights="DEFAULT").load()
    assert not marker.exists()


def test_the_shipped_digits_are_read_right():
    model = Mnist(name="mnist").load()
    with (DIGITS / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    with torch.no_grad():
        images = torch.cat([model.preprocess(Image.open(DIGITS / row["file"])) for row in rows])
        answers = model.module(images).argmax(1)
    right = sum(model.labels[answer] == row["label"] for answer, row in zip(answers.tolist(), rows, strict=True))
    assert right >= 194  # 97 %
    assert "99." in model.note


def test_what_ships_is_small_and_safetensors():
    (header,) = struct.unpack("<Q", SHIPPED.read_bytes()[:8])
    assert SHIPPED.read_bytes()[8 : 8 + header].startswith(b"{")
    assert SHIPPED.stat().st_size <= 1_000_000
    assert sum(path.stat().st_size for path in DIGITS.iterdir()) <= 150_000


def test_digit_preprocessing_by_hand():
    image = Mnist(name="mnist").load().preprocess(Image.new("L", (28, 28), 255))
    assert image.shape == (1, 1, 28, 28)
    assert image[0, 0, 3, 3].item() == pytest.approx((1 - 0.1307) / 0.3081)


def test_mnist_weights_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(GraphError, match="cannot read the weights"):
        Mnist(name="mnist", weights=str(tmp_path / "none.safetensors")).load()
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(GraphError, match="a safetensors file is needed"):
        Mnist(name="mnist", weights=str(tmp_path / "text.safetensors")).load()
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(GraphError, match="belong to another network"):
        Mnist(name="mnist", weights=str(tmp_path / "other.safetensors")).load()


def test_any_module_by_path(tmp_path):
    save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, tmp_path / "w.safetensors")
    (tmp_path / "labels.txt").write_text("no\nyes\n")
    model = module(weights=str(tmp_path / "w.safetensors"), labels=str(tmp_path / "labels.txt")).load()
    assert model.name == "module"
    assert model.example[0].shape == (1, 3)
    with torch.no_grad():
        assert model.module(torch.tensor([[1.0, 2.0, 4.0]])).tolist() == [[7.0, 7.0]]
    assert tuple(model.labels) == ("no", "yes")
    first, second = (module().load().module.weight for _ in range(2))
    assert torch.equal(first, second)


NET = """
from torch import nn
import shapes  # beside it
class Net(nn.Sequential):
    def __init__(self, width):
        import late
        super().__init__(nn.Linear(shapes.INPUT, width), nn.ReLU(), nn.Linear(width, late.OUTPUT))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a user's own network in three files, which are removed from sys.modules afterwards."""
    (tmp_path / "my_net_of_3_files.py").write_text(NET)
    (tmp_path / "shapes.py").write_text("INPUT = 3")
    (tmp_path / "late.py").write_text("OUTPUT = 2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_network_in_the_current_folder(folder):
    paths = list(sys.path)
    model = module(path="my_net_of_3_files.Net", kwargs={"width": 5}, title="mine").load()
    assert (model.name, [tuple(value.shape) for value in model.module.parameters()]) == (
        "mine",
        [(5, 3), (5,), (2, 5), (2,)],
    )
    assert sys.path == paths
    assert str(folder) not in sys.path


def test_a_broken_file_in_the_current_folder_is_one_line(folder):
    (folder / "broken_net.py").write_text("class Net(\n")
    (folder / "raising_net.py").write_text("raise RuntimeError('no\\nsuch device')")
    for path, words in (("broken_net.Net", "SyntaxError: '(' was never closed"), ("raising_net.Net", "no such device")):
        with pytest.raises(ConfigError) as error:
            module(path=path).load()
        assert words in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"title: letters, digits, .* got '\.\./mine'"):
        module(title="../mine").load()


def test_a_modules_image_is_scaled_cut_and_normalised():
    given = {"path": "torch.nn.Conv2d", "kwargs": {"in_channels": 3, "out_channels": 1, "kernel_size": 3}}
    model = module(**given, input_shapes=[[3, 20, 30]], mean=[0.5], std=[0.25]).load()
    image = model.preprocess(Image.new("RGB", (90, 40), (255, 0, 255)))
    assert image.shape == (1, 3, 20, 30)
    assert image[0, :, 5, 5].tolist() == [2.0, -2.0, 2.0]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"path": "no_such_package.Net"}, ConfigError, "cannot import 'no_such_package'"),
        ({"path": "torch.nn.Linnear"}, ConfigError, "'torch.nn' has no 'Linnear'"),
        ({"path": "torch.pi"}, ConfigError, "is a float, not a class or factory"),
        ({"path": "Linear"}, ConfigError, "cannot import ''"),
        ({"kwargs": {"in_features": 3}}, GraphError, r"failed: TypeError"),
        ({"path": "sys.exit", "kwargs": {}}, GraphError, r"sys.exit\(\*\*{}\) failed: SystemExit"),
        ({"path": "builtins.dict", "kwargs": {}}, GraphError, "returned a dict, not a torch.nn.Module"),
        ({"input_shapes": []}, ConfigError, "one shape per input"),
        ({"input_shapes": [[0]]}, ConfigError, "sizes from 1"),
        ({"largest_shapes": [[4]]}, ConfigError, "smallest_shapes and largest_shapes have one shape per input"),
        (
            {"smallest_shapes": [[4]], "largest_shapes": [[9]]},
            ConfigError,
            r"smallest_shapes=\[4\], largest_shapes=\[9",
        ),
        (
            {"smallest_shapes": [[1]], "largest_shapes": [[9, 9]]},
            ConfigError,
            r"the shape \[3\] must be between the two",
        ),
        ({"labels": "/nowhere/labels.txt"}, FileError, "cannot read the labels"),
    ],
)
def test_a_module_that_cannot_be_made_is_named(changes, error, words):
    with pytest.raises(error, match=words):
        module(**changes).load()


def test_an_image_for_a_model_that_takes_none_is_refused():
    with pytest.raises(GraphError, match="not images"):
        module().load().preprocess(PHOTO)
    with pytest.raises(GraphError, match="takes 2 inputs"):
        module(input_shapes=[[3], [3]]).load().preprocess(PHOTO)


@pytest.mark.usefixtures("folder")
def test_arguments_of_the_users_class_need_no_leading_plus():
    overrides = ["model=module", "model.module.path=my_net_of_3_files.Net", "model.module.input_shapes=[[3]]"]
    for kwargs in ("model.module.kwargs={width: 7}", "model.module.kwargs.width=7", "+model.module.kwargs={width: 7}"):
        (component,) = build_each(Kind.MODEL, compose("cloud", [*overrides, kwargs]).model).values()
        assert component.load().module[0].out_features == 7


OWN = """
import torch, torchvision
from torch import nn


class Tokens(nn.Module):
    def __init__(self, words=50):
        super().__init__()
        self.table, self.out = nn.Embedding(words, 8), nn.Linear(8, words, bias=False)
        self.out.weight = self.table.weight  # tied

    @classmethod
    def from_pretrained(cls, words=50):
        return cls(words)

    def forward(self, input_ids, mask=None, segments=None):
        y = self.table(input_ids)
        y = y if segments is None else y + segments.unsqueeze(-1)
        return self.out(y if mask is None else y * mask.unsqueeze(-1))


class Outer:
    class Tokens(Tokens):
        pass


class ByKeyword(Tokens):
    def forward(self, *, input_ids, mask=None):
        return super().forward(input_ids, mask)


ready = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
ready_program = torch.export.export(ready.eval(), (torch.rand(1, 1, 2, 2),))


def resnet():
    return torchvision.models.resnet18(weights=None)


def exported():
    return torch.export.export(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval(), (torch.rand(1, 1, 2, 2),))


def exported_module():
    return exported().module()


def boxes():
    class Detector(nn.Module):
        def forward(self, x):
            corners = x.reshape(-1, 2) * 10
            boxes = torch.cat([corners, corners + 3], 1)
            return boxes[torchvision.ops.nms(boxes, x.reshape(-1, 2).sum(1), 0.3)]
    return Detector()


def boxes_of_classes():
    class Detector(nn.Module):
        def forward(self, x):
            corners = x.reshape(-1, 2) * 10
            boxes, scores = torch.cat([corners, corners + 3], 1), x.reshape(-1, 2).sum(1)
            boxes, scores = boxes[scores > 0.3], scores[scores > 0.3]
            kept = torchvision.ops.batched_nms(boxes, scores, (scores > 1).long(), 0.3)
            return {"boxes": boxes[kept], "scores": scores[kept]}
    return Detector()
"""


@pytest.fixture
def own(folder):
    (folder / "own_nets.py").write_text(OWN)
    return "own_nets"


def module_settings(path, **inputs):
    return {"path": path, "kwargs": {}, "input_shapes": [], "inputs": inputs}


def cut(model):
    return partition(model, CutSettings())


def assert_same_answers(model, parts):
    with torch.no_grad():
        whole = model.module(*model.example)
    for at in parts.legal:
        assert same_bits(parts.assemble(parts.tail(at, parts.head(at, model.example))), whole)


def test_a_token_model_gets_in_by_a_class_method_with_named_inputs(own):
    token_inputs = {"dtype": "int64", "shape": [6], "below": 50}
    model = module(**module_settings(f"{own}.Tokens.from_pretrained", input_ids=token_inputs)).load()
    assert (model.example[0].dtype, tuple(model.example[0].shape)) == (torch.int64, (1, 6))
    assert 1 < int(model.example[0].max()) < 50
    parts = cut(model)
    assert [value.name for value in parts.table.cuts[0].values] == ["input_ids"]
    assert_same_answers(model, parts)


def test_ranges_of_sizes_are_given_with_shapes_or_with_named_inputs(own):
    images = module(input_shapes=[[3]], smallest_shapes=[[2]], largest_shapes=[[]]).load().ranges
    assert [(entry.smallest, entry.largest) for entry in images] == [((2,), (3,))]
    free = {"dtype": "int64", "shape": [6], "below": 50, "smallest": [1], "largest": [40]}
    fixed = {"dtype": "float32", "shape": [3], "values": 0.5}
    texts = module(**module_settings(f"{own}.Tokens", input_ids=free, segments=fixed)).load().ranges
    assert [(entry.smallest, entry.largest) for entry in texts] == [((1,), (40,)), ((3,), (3,))]
    with pytest.raises(ConfigError, match=r"inputs.input_ids.smallest=\[7\], largest=\[40\]: the shape \[6\] must be"):
        module(**module_settings(f"{own}.Tokens", input_ids=free | {"smallest": [7]})).load()


def test_a_classifier_of_torchvision_takes_tensors_of_other_sides(single_threaded):  # noqa: ARG001
    model = Torchvision(name="squeezenet1_1", sides=[64, 224]).load()
    parts = cut(model).make_for_shapes(((1, 3, 90, 70),))
    image = torch.rand(1, 3, 90, 70)
    with torch.no_grad():
        whole = model.module(image)
    for at in parts.legal:
        assert same_bits(parts.assemble(parts.tail(at, parts.head(at, [image]))), whole)
    for sides in ([64], [225, 300], [64, 100], [0, 300], [64, 224, 300]):
        with pytest.raises(ConfigError, match=r"model.squeezenet1_1.sides: .*, with \[224, 224\] between them, got \["):
            Torchvision(name="squeezenet1_1", sides=sides).load()


def test_inputs_are_given_by_name_in_any_order_and_others_may_be_left_out(own):
    values = {"dtype": "int64", "shape": [3], "values": [4, 5, 6]}
    segments = {"dtype": "float32", "shape": [3], "values": 0.5}
    model = module(**module_settings(f"{own}.Tokens", segments=segments, input_ids=values)).load()
    assert [value.tolist() for value in model.example] == [[[0.5, 0.5, 0.5]], [[4, 5, 6]]]
    parts = cut(model)
    assert [value.name for value in parts.table.cuts[0].values] == ["segments", "input_ids"]
    assert_same_answers(model, parts)


def test_weights_of_a_tied_module_need_one_of_its_names(own, tmp_path):
    tokens = {"dtype": "int64", "shape": [3]}
    made = module(**module_settings(f"{own}.Tokens", input_ids=tokens)).load().module
    save_model(made, str(tmp_path / "tied.safetensors"))
    loaded = module(
        **module_settings(f"{own}.Tokens", input_ids=tokens), weights=str(tmp_path / "tied.safetensors"), seed=3
    ).load()
    assert torch.equal(loaded.module.out.weight, made.table.weight)
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(GraphError, match="belong to another network: missing"):
        module(**module_settings(f"{own}.Tokens", input_ids=tokens), weights=str(tmp_path / "other.safetensors")).load()


@pytest.mark.parametrize("kind", ["Outer.Tokens", "Outer.Tokens.from_pretrained", "ByKeyword"])
def test_nested_classes_and_arguments_by_keyword_only(own, kind):
    model = module(**module_settings(f"{own}.{kind}", input_ids={"dtype": "int64", "shape": [4], "below": 9})).load()
    parts = cut(model)
    assert parts.table.capture == "fx"
    assert_same_answers(model, parts)


def test_several_arguments_by_name_in_another_order_are_traced_by_fx(own):
    mask, ids = {"shape": [4]}, {"dtype": "int64", "shape": [4], "below": 9}
    model = module(**module_settings(f"{own}.ByKeyword", mask=mask, input_ids=ids)).load()
    assert cut(model).table.capture == "fx"
    assert_same_answers(model, cut(model))


@pytest.mark.parametrize("name", ["ready", "ready_program", "exported", "exported_module"])
def test_what_torch_export_made_is_cut(own, name):
    model = module(path=f"{own}.{name}", kwargs={}, input_shapes=[[1, 2, 2]]).load()
    parts = cut(model)
    assert parts.table.last >= 2
    assert_same_answers(model, parts)


@pytest.mark.parametrize("name", ["boxes", "boxes_of_classes"])
def test_non_maximum_suppression_works_beside_cpu_torch_and_its_answers_may_have_any_size(own, name):
    model = module(path=f"{own}.{name}", kwargs={}, input_shapes=[[20, 2]]).load()
    parts = cut(model)
    assert parts.table.last in parts.legal
    assert_same_answers(model, parts)
    sizes = set()
    for seed in range(6):
        output = parts.tail(0, (torch.rand(1, 20, 2, generator=torch.Generator().manual_seed(seed)),))
        parts.check_values(parts.table.last, output)
        sizes.add(len(output[0]))
    assert len(sizes) > 1


OWN_TORCHVISION = """
from midcut_models.module import Module
given = dict(name="module", path="own_nets.resnet", kwargs={}, inputs={}, input_shapes=[[3, 32, 32]], weights=None)
print(Module(**given, seed=0, mean=[0.0], std=[1.0], labels=None).load().module.fc.out_features)
"""


@pytest.mark.usefixtures("own")
def test_the_users_own_file_may_import_torchvision(folder):
    done = subprocess.run(
        [sys.executable, "-c", OWN_TORCHVISION], capture_output=True, text=True, timeout=600, cwd=folder, check=False
    )
    assert done.stdout.split() == ["1000"], done.stderr


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": {"dtype": "int63", "shape": [3]}}, r"inputs\.x\.dtype: 'int63' is not a dtype"),
        ({"x": {"shape": [0]}}, r"inputs\.x\.shape: sizes from 1"),
        ({"x": {"shape": [3], "values": [1.0, 2.0]}}, r"values: have shape \[2\], but shape is \[3\]"),
        ({"x": {"shape": [2], "values": ["a", 2.0]}}, "values: not nested lists of torch.float32"),
        ({"x": {"dtype": "int64", "shape": [3], "below": 0}}, "below: must be from 1"),
        ({"image": {"shape": [3]}}, "Linear has no argument 'image'; it has: input"),
    ],
)
def test_inputs_that_cannot_be_are_named_in_one_line(inputs, words):
    with pytest.raises(ConfigError, match=words) as caught:
        module(input_shapes=[], inputs=inputs).load()
    assert "\n" not in str(caught.value)


def test_suppression_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 4.9]])
    scores = torch.tensor([0.5, 0.9, 0.1, 0.8])
    # Of 100 + 100 - 81 and 100 + 49 - 35.1: the shares are 0.68 and 0.31.
    assert _keep_best_boxes(boxes, scores, 0.5).tolist() == [1, 3, 2]
    assert _keep_best_boxes(boxes, scores, 0.3).tolist() == [1, 2]
    assert _keep_best_boxes(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
