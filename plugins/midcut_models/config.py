"""The knobs of the models that come with midcut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class TorchvisionConfig:
    """A classification model of torchvision.

    Attributes:
        weights: `DEFAULT` or a name of the model's weights enum, fetched by torchvision; null draws
            random weights.
        seed: of the random weights; equal seeds give both sides equal weights.
        num_classes: outputs of a model with random weights; null is ImageNet's 1000.
    """

    weights: str | None = None
    seed: int = 0
    num_classes: int | None = None


@dataclass
class ModuleConfig:
    """Any `torch.nn.Module` by dotted path.

    Attributes:
        path: class or factory, e.g. `my_package.nets.Net`; the current folder is looked in as well.
        kwargs: what it is called with.
        input_shapes: one per positional input, without the batch, e.g. `[[3,224,224]]`.
        weights: a safetensors file with its state dict; null leaves what the call made, seeded.
        seed: set before the call.
        mean, std: normalisation of images scaled to 0..1, one number or one per channel.
        labels: a text file with one class name a line; null is none.
        title: what edge, cloud and profiles call the model; null is `module`. Equal on both sides.
    """

    path: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)
    input_shapes: list[list[int]] = MISSING
    weights: str | None = None
    seed: int = 0
    mean: list[float] = field(default_factory=lambda: [0.0])
    std: list[float] = field(default_factory=lambda: [1.0])
    labels: str | None = None
    title: str | None = None


@dataclass
class MnistConfig:
    """The paper's MNIST network.

    Attributes:
        weights: a safetensors file made by `tools/make/train_mnist.py`; null is the trained one that ships.
    """

    weights: str | None = None
