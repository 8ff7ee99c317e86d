"""torchvision's classifiers, with torchvision's weights, transforms and class names."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from midcut.errors import ConfigError, GraphError
from midcut.types import LoadedModel
from midcut_models.centre_crop import CentreCrop
from midcut_models.inputs import square_ranges
from midcut_models.mnist import PICKLE_SUFFIXES, read_weights
from midcut_models.torchvision_shim import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DOWNLOAD_TIMEOUT_S = 30.0
_FILES = (".safetensors", *PICKLE_SUFFIXES)
_SCALED_INPUT = ("googlenet", "inception_v3")  # with trained weights, torchvision gives them transform_input=True
_SLOW_INIT = (
    "googlenet",
    "inception_v3",
)  # without init_weights=False they draw from a truncated normal, which takes seconds


class Torchvision:
    """A classification model of torchvision by its name."""

    def __init__(
        self,
        *,
        name: str,
        weights: str | None = None,
        seed: int = 0,
        num_classes: int | None = None,
        sides: Sequence[int] = (),
        transforms: str = "DEFAULT",
    ) -> None:
        self._transforms = transforms
        self._sides = sides
        self._name = name
        self._weights = weights
        self._seed = seed
        self._classes = num_classes

    def load(self) -> LoadedModel:
        models = import_torchvision().models
        enum = models.get_model_weights(self._name)
        file = Path(self._weights).expanduser() if self._weights and self._weights.endswith(_FILES) else None
        if file is not None:
            chosen = _weights_by_name(enum, self._transforms, f"model.{self._name}.transforms")
            module = self._random_module(models, **_trained_settings(self._name, chosen))
            read_weights(module, file)
            note = f"weights from {file}, preprocessing of {chosen}"
        elif self._weights is None:
            # The transforms with the smallest crop are those that fit a model built without weights.
            chosen, module = min(enum, key=_crop_size), self._random_module(models)
            note = (
                f"random weights, seed {self._seed}: the classes mean nothing (weights=DEFAULT fetches trained weights)"
            )
        else:
            if self._classes is not None:
                raise ConfigError(f"model.{self._name}: num_classes needs random weights, not {self._weights}")
            chosen = _weights_by_name(
                enum, self._weights, f"model.{self._name}.weights", also=", and any .safetensors file"
            )
            module = _fetch_module(models, self._name, chosen)
            note = f"torchvision {chosen}"
        size = _crop_size(chosen)
        return LoadedModel(
            name=self._name,
            module=module.eval(),
            example=(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)),),
            preprocess=_make_preprocess(chosen.transforms()),
            labels=tuple(chosen.meta["categories"]) if self._classes is None else (),
            note=note,
            ranges=square_ranges(self._sides, (3, size, size), f"model.{self._name}"),
        )

    def _random_module(self, models: Any, **kwargs: Any) -> torch.nn.Module:
        if self._name in _SLOW_INIT:
            kwargs["init_weights"] = False
        if self._classes is not None:
            kwargs["num_classes"] = self._classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            module: torch.nn.Module = models.get_model(self._name, weights=None, **kwargs)
        return module


def _crop_size(weights: Any) -> int:
    return int(weights.transforms().crop_size[0])


def _trained_settings(name: str, weights: Any) -> dict[str, Any]:
    """What torchvision builds a network with for these weights, beside what it builds it with for none."""
    if name in _SCALED_INPUT:
        return {"transform_input": True}
    return {"image_size": _crop_size(weights)} if name.startswith("vit_") else {}


def _weights_by_name(enum: Any, name: str, key: str, also: str = "") -> Any:
    try:
        return enum[name.rpartition(".")[2]]
    except KeyError:
        known = ", ".join(["DEFAULT", *(member.name for member in enum)])
        raise ConfigError(f"{key}: {key.split('.')[1]} has no weights {name!r}; there are: {known}{also}") from None


def _fetch_module(models: Any, model: str, weights: Any) -> torch.nn.Module:
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        with _bounded_download(), _no_code_in_weights(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: torch.nn.Module = models.get_model(model, weights=weights, progress=False)
    except (OSError, http.client.HTTPException) as error:
        raise GraphError(
            f"the weights {weights} could not be fetched ({error}); put {weights.url} into {cache}, "
            f"or use model.{model}.weights=null for random ones"
        ) from None
    except Exception as error:  # a damaged file, or one that holds more than tensors: torch raises several types
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise GraphError(f"the weights {weights} in {cache} cannot be used ({line}); delete the file") from error
    return module


@contextlib.contextmanager
def _bounded_download() -> Iterator[None]:
    """Limit how long a download may stall; torch.hub sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _no_code_in_weights() -> Iterator[None]:
    """Make torch.load accept tensors only, whatever its caller asks for, so that a weights file cannot run code."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _make_preprocess(transforms: Any) -> CentreCrop:
    """Torchvision's transforms as a function that needs no torch; a test compares their bits."""
    (resize,), (crop,) = transforms.resize_size, transforms.crop_size
    return CentreCrop(resize, crop, transforms.mean, transforms.std, transforms.interpolation.value)
