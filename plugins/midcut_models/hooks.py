"""The models that come with midcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut import Component, hookimpl
from midcut_models.config import MnistConfig, ModuleConfig, TorchvisionConfig
from midcut_models.names import TORCHVISION

if TYPE_CHECKING:
    from collections.abc import Sequence


@hookimpl
def midcut_models() -> Sequence[Component]:
    return (
        Component("mnist", MnistConfig, "midcut_models.mnist.Mnist", "the paper's digit network, trained"),
        Component("module", ModuleConfig, "midcut_models.module.Module", "any torch.nn.Module by dotted path"),
        *(
            Component(name, TorchvisionConfig, "midcut_models.classification.Torchvision", "torchvision classifier")
            for name in TORCHVISION
        ),
    )
