"""Image classifiers of Hugging Face's transformers."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from midcut.errors import GraphError
from midcut.types import LoadedModel
from midcut_models.centre_crop import CentreCrop
from midcut_models.config import Fit, ImageSettings, Interpolation
from midcut_models.foreign_transform import ForeignTransform, Reader, reader_or_transform
from midcut_models.images import ImageReader
from midcut_models.torchvision_shim import import_torchvision


class HuggingFace:
    """An image classifier by its name on the hub, or from a folder."""

    def __init__(self, *, name: str, revision: str | None, title: str) -> None:
        self._name = name
        self._revision = revision
        self._title = title

    def load(self) -> LoadedModel:
        transformers = _import_transformers()
        common: dict[str, Any] = {"revision": self._revision or "main", "trust_remote_code": False}
        try:
            network = transformers.AutoModelForImageClassification.from_pretrained(
                self._name, use_safetensors=True, **common
            )
            processor = transformers.AutoImageProcessor.from_pretrained(self._name, use_fast=False, **common)
        except Exception as error:  # no network, no such model, other files: transformers raises several types
            line = " ".join(str(error).split())[:300]
            raise GraphError(f"model.hf.name={self._name}: transformers cannot load it: {line}") from error
        size = processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size
        height, width = _height_and_width(size, network.config)
        channels = int(getattr(network.config, "num_channels", 3))
        names = network.config.id2label
        generator = torch.Generator().manual_seed(0)
        return LoadedModel(
            name=self._title,
            module=_Logits(network.eval()).eval(),
            example=(torch.rand(1, channels, height, width, generator=generator),),
            preprocess=_make_preprocess(processor),
            labels=tuple(str(names[index]) for index in sorted(names)),
            note=f"Hugging Face {self._name}",
        )


class _Logits(torch.nn.Module):
    """A classifier that returns its logits, instead of an object with them."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(pixel_values=pixel_values, return_dict=False)[0]
        return logits


def _import_transformers() -> Any:
    import_torchvision()  # before transformers does, which would stumble over its operators
    try:
        import transformers  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise GraphError(f"model hf needs transformers ({error}): pip install 'midcut[hf]'") from None
    return transformers


def _height_and_width(size: Any, config: Any) -> tuple[int, int]:
    given = dict(size)
    if "height" in given:
        return int(given["height"]), int(given["width"])
    side: int = given["shortest_edge"] if given.get("shortest_edge") else getattr(config, "image_size", 224)
    return side, side


def _make_preprocess(processor: Any) -> Reader | ForeignTransform:
    def preprocess(image: Image.Image) -> torch.Tensor:
        tensor: torch.Tensor = processor(images=image, return_tensors="pt")["pixel_values"]
        return tensor

    return reader_or_transform(preprocess, lambda: _reader(processor))


def _reader(processor: Any) -> Reader:
    """The reader of ours with a processor's settings."""
    mean, std = ([float(number) for number in numbers] for numbers in (processor.image_mean, processor.image_std))
    interpolation = Image.Resampling(processor.resample).name.lower()
    if getattr(processor, "do_center_crop", False):
        short, crop = processor.size["shortest_edge"], processor.crop_size["height"]
        return CentreCrop(short, crop, mean, std, interpolation, round_down=True)
    shape = (3, processor.size["height"], processor.size["width"])
    return ImageReader(shape, mean, std, ImageSettings(Interpolation(interpolation), Fit.stretch))
