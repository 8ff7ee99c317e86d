"""Settings of the models that come with midcut."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from midcut.errors import ConfigError


class Interpolation(Enum):
    """Pillow's filters, with antialiasing where a picture becomes smaller; nearest has none."""

    nearest = "nearest"
    box = "box"
    bilinear = "bilinear"
    hamming = "hamming"
    bicubic = "bicubic"
    lanczos = "lanczos"


class Fit(Enum):
    """How a picture of another aspect ratio is fitted: its centre, all of it with bars, or all of it distorted."""

    crop = "crop"
    letterbox = "letterbox"
    stretch = "stretch"


@dataclass
class ImageSettings:
    """How a picture is fitted to the size of the model's input.

    Attributes:
        interpolation: the filter that scales it.
        fit: `crop` covers the input and takes the centre, `letterbox` pads, `stretch` ignores the aspect ratio.
        crop_ratio: with `crop`, the share of the shorter side that is taken; 0.875 is ImageNet's 224 of 256.
        fill: with `letterbox`, the colour of the bars, a name or `#rrggbb`.
        background: colour below transparent pixels; black or white where hardly anything could be seen on it.
    """

    interpolation: Interpolation = Interpolation.bilinear
    fit: Fit = Fit.crop
    crop_ratio: float = 1.0
    fill: str = "#727272"
    background: str = "white"

    def check(self, key: str) -> None:
        """Check the values; `key` names these settings in the error.

        Raises:
            ConfigError: a ratio out of bounds, or a colour that Pillow does not know.
        """
        from PIL import ImageColor  # noqa: PLC0415 - `--help` imports this file

        if not 0.0 < self.crop_ratio <= 1.0:
            raise ConfigError(f"{key}.crop_ratio must be over 0 and at most 1, got {self.crop_ratio}")
        for name in ("fill", "background"):
            try:
                ImageColor.getrgb(getattr(self, name))
            except ValueError:
                raise ConfigError(
                    f"{key}.{name} must be a colour like white or #727272, got {getattr(self, name)!r}"
                ) from None


@dataclass
class EfficientNetConfig:
    """EfficientNet-Lite0 with trained weights. It has no settings."""


@dataclass
class TorchvisionConfig:
    """A classification model of torchvision.

    Attributes:
        weights: `DEFAULT` or a name of the model's weights enum, fetched by torchvision, or a safetensors file with the
            state dict; null draws random weights. A file is taken to be trained as torchvision's `DEFAULT` is: with
            its preprocessing, and the input scaled again inside googlenet and inception_v3.
        transforms: with a file, the name of the weights whose preprocessing, and size in a `vit`, it was trained with.
        seed: of the random weights; equal seeds give both sides equal weights.
        num_classes: outputs of a model with random weights or with a file's; null is ImageNet's 1000.
        sides: smallest and largest height and width that a request's tensor may have, e.g. `[64,512]`; empty is only
            the weights' own size, to which pictures are fitted in any case.
    """

    weights: str | None = None
    seed: int = 0
    num_classes: int | None = None
    sides: list[int] = field(default_factory=list)
    transforms: str = "DEFAULT"


@dataclass
class InputConfig:
    """One input of a module, as the model is tried with it at start.

    Attributes:
        dtype: torch's name for it, e.g. `int64` for token ids.
        shape: without the batch dimension.
        values: one sample, as nested lists of this shape, or one number for all; null draws them.
        below: drawn integers are from 0 to one less than this; floats are from 0 to 1.
        smallest, largest: shapes between which each request's may be; empty is only `shape`.
    """

    dtype: str = "float32"
    shape: list[int] = field(default_factory=list)
    values: Any = None
    below: int = 2
    smallest: list[int] = field(default_factory=list)
    largest: list[int] = field(default_factory=list)


@dataclass
class ModuleConfig:
    """Any `torch.nn.Module` by its dotted path, or what `torch.export` made of one.

    Attributes:
        path: class, factory, class method or module, e.g. `my_package.nets.Net` or `my_net.Net.from_pretrained`; the
            current folder is searched, too.
        kwargs: keyword arguments of the call, e.g. `{hidden: 16}`.
        input_shapes: one shape per positional input, without the batch dimension, e.g. `[[3,224,224]]`, all float32.
        smallest_shapes, largest_shapes: for each of `input_shapes`, shapes between which each request's may be, e.g.
            `[[3,64,64]]` and `[[3,512,512]]`; empty is only `input_shapes`.
        inputs: in place of `input_shapes`, inputs by the names of the module's arguments, each with `dtype`, `shape`,
            `values`, `below`, `smallest`, `largest`, e.g. `{input_ids: {dtype: int64, shape: [16], below: 1000}}`.
        weights: a safetensors file with the state dict; null keeps the weights that the call made.
        seed: torch's seed, set before the call, so that edge and cloud make equal weights.
        mean, std: normalisation of images scaled to 0..1, one number or one per channel.
        image: how pictures are fitted to the input.
        labels: a text file with one class name per line; null is none.
        title: name of the model at edge and cloud and in profiles, the same on both sides; null is `module`.
    """

    path: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)
    input_shapes: list[list[int]] = field(default_factory=list)
    smallest_shapes: list[list[int]] = field(default_factory=list)
    largest_shapes: list[list[int]] = field(default_factory=list)
    inputs: dict[str, InputConfig] = field(default_factory=dict)
    weights: str | None = None
    seed: int = 0
    mean: list[float] = field(default_factory=lambda: [0.0])
    std: list[float] = field(default_factory=lambda: [1.0])
    image: ImageSettings = field(default_factory=ImageSettings)
    labels: str | None = None
    title: str | None = None


@dataclass
class TimmConfig:
    """A classification model of timm, by timm's name. Needs the extra `timm`.

    Attributes:
        name: e.g. `mobilenetv4_conv_small.e2400_r224_in1k`; `timm.list_models()` lists them.
        pretrained: fetch trained weights from the Hugging Face hub; false draws random ones.
        weights: a safetensors file with the state dict, instead.
        seed: of random weights.
        sides: smallest and largest height and width that a request's tensor may have; empty is only timm's size.
        title: name of the model at edge and cloud and in profiles.
    """

    name: str = MISSING
    pretrained: bool = False
    weights: str | None = None
    seed: int = 0
    sides: list[int] = field(default_factory=list)
    title: str = "${.name}"


@dataclass
class HuggingFaceConfig:
    """An image classifier of the Hugging Face hub, or of a folder that `save_pretrained` wrote. Needs the extra `hf`.

    Only safetensors weights are read, and no code that comes with a model.

    Attributes:
        name: on the hub, e.g. `google/mobilenet_v2_1.0_224`, or a folder.
        revision: branch, tag or commit on the hub; null is the latest.
        title: name of the model at edge and cloud and in profiles.
    """

    name: str = MISSING
    revision: str | None = None
    title: str = "hf"


@dataclass
class ExportedConfig:
    """A folder that `midcut export` wrote, for `midcut edge` in ONNX Runtime; PyTorch is not imported.

    Attributes:
        folder: the folder. The model's name, cuts, labels and preprocessing come from it.
    """

    folder: str = MISSING


@dataclass
class MnistConfig:
    """The paper's MNIST network.

    Attributes:
        weights: a safetensors file made by `tools/make/train_mnist.py`; null is the trained one that ships.
    """

    weights: str | None = None
