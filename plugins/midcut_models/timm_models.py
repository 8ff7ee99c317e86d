"""timm's classifiers, with timm's own preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from midcut.errors import ConfigError, GraphError
from midcut.types import LoadedModel
from midcut_models.centre_crop import CentreCrop
from midcut_models.config import Fit, ImageSettings, Interpolation
from midcut_models.foreign_transform import ForeignTransform, Reader, reader_or_transform
from midcut_models.images import ImageReader
from midcut_models.inputs import square_ranges
from midcut_models.mnist import read_weights
from midcut_models.torchvision_shim import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image


class Timm:
    """A model of timm by its name."""

    def __init__(
        self, *, name: str, pretrained: bool, weights: str | None, seed: int, title: str, sides: Sequence[int] = ()
    ) -> None:
        self._sides = sides
        self._name = name
        self._pretrained = pretrained
        self._weights = weights
        self._seed = seed
        self._title = title

    def load(self) -> LoadedModel:
        if self._pretrained and self._weights:
            raise ConfigError("model.timm: give either pretrained=true or weights=FILE, not both")
        timm = _import_timm()
        module = self._make(timm)
        note = "random weights: the classes mean nothing (model.timm.pretrained=true fetches trained ones)"
        if self._weights:
            read_weights(module, Path(self._weights).expanduser())
            note = f"weights from {self._weights}"
        elif self._pretrained:
            note = "timm's trained weights"
        settings = timm.data.resolve_model_data_config(module)
        generator = torch.Generator().manual_seed(0)
        return LoadedModel(
            name=self._title,
            module=module.eval(),
            example=(torch.rand(1, *settings["input_size"], generator=generator),),
            preprocess=_make_preprocess(timm.data.create_transform(**settings, is_training=False)),
            labels=_labels(timm, module),
            note=f"timm {self._name}, {note}",
            ranges=square_ranges(self._sides, settings["input_size"], "model.timm"),
        )

    def _make(self, timm: Any) -> torch.nn.Module:
        if not timm.is_model(self._name):
            close = timm.list_models(f"*{self._name.partition('.')[0]}*")[:3]
            hint = f"; similar: {', '.join(close)}" if close else ""
            raise ConfigError(f"model.timm.name: timm {timm.__version__} has no model {self._name!r}{hint}")
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)
                module: torch.nn.Module = timm.create_model(self._name, pretrained=self._pretrained)
        except Exception as error:  # no network, no such weights: several libraries raise several types
            raise GraphError(f"timm cannot make {self._name}: {' '.join(str(error).split())[:300]}") from error
        return module


def _import_timm() -> Any:
    import_torchvision()  # before timm does, which would stumble over its operators
    try:
        import timm  # noqa: PLC0415 - an extra
        import timm.data  # noqa: PLC0415
    except ImportError as error:
        raise GraphError(f"model timm needs timm ({error}): pip install 'midcut[timm]'") from None
    return timm


def _make_preprocess(transform: Any) -> Reader | ForeignTransform:
    def preprocess(image: Image.Image) -> torch.Tensor:
        tensor: torch.Tensor = transform(image).unsqueeze(0)
        return tensor

    return reader_or_transform(preprocess, lambda: _reader(transform))


def _reader(transform: Any) -> Reader:
    """The reader of ours with the settings of timm's transforms: scale, crop, make a tensor, normalise."""
    resize, crop, _, normalise = transform.transforms
    height, width = crop.size
    mean, std = normalise.mean.tolist(), normalise.std.tolist()
    interpolation = resize.interpolation.value
    if isinstance(resize.size, int):
        return CentreCrop(resize.size, height, mean, std, interpolation)
    settings = ImageSettings(Interpolation(interpolation), Fit.stretch)
    return ImageReader((3, height, width), mean, std, settings)


def _labels(timm: Any, module: Any) -> tuple[str, ...]:
    """ImageNet's class names, for a model with that many classes."""
    if getattr(module, "num_classes", 0) != 1000:
        return ()
    return tuple(str(name) for name in timm.data.ImageNetInfo().label_descriptions())
