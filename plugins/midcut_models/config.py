"""Knobs of the models that come with midcut."""

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
    """Any `torch.nn.Module` by its dotted path.

    Attributes:
        path: class or factory, e.g. `my_package.nets.Net`; the current folder is searched, too.
        kwargs: keyword arguments of the call.
        input_shapes: one shape per positional input, without the batch dimension, e.g. `[[3,224,224]]`.
        weights: a safetensors file with the state dict; null keeps the weights that the call made.
        seed: torch's seed, set before the call, so that edge and cloud make equal weights.
        mean, std: normalisation of images scaled to 0..1, one number or one per channel.
        labels: a text file with one class name per line; null is none.
        title: name of the model at edge and cloud and in profiles, the same on both sides; null is `module`.
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
