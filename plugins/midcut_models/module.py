"""Any `torch.nn.Module` of the user."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from midcut.errors import ConfigError, FileError, GraphError
from midcut.types import LoadedModel
from midcut_models.config import ImageSettings
from midcut_models.images import ImageReader
from midcut_models.mnist import read_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from PIL import Image

_TITLE = re.compile(r"[A-Za-z0-9][\w.-]*")


class Module:
    """A `torch.nn.Module` that is made by the class or factory at a dotted path."""

    def __init__(
        self,
        *,
        name: str,
        path: str,
        kwargs: dict[str, Any],
        input_shapes: list[list[int]],
        weights: str | None,
        seed: int,
        mean: list[float],
        std: list[float],
        labels: str | None,
        title: str | None = None,
        image: ImageSettings | None = None,
    ) -> None:
        self._name = name
        self._title = name if title is None else title
        self._path = path
        self._kwargs = kwargs
        self._shapes = [tuple(shape) for shape in input_shapes]
        self._weights = weights
        self._seed = seed
        self._mean = mean
        self._std = std
        self._labels = labels
        self._image = image or ImageSettings()

    def load(self) -> LoadedModel:
        if not self._shapes or any(size < 1 for shape in self._shapes for size in shape):
            raise ConfigError(f"model.{self._name}.input_shapes: one shape per input, sizes from 1, got {self._shapes}")
        if not _TITLE.fullmatch(self._title):
            raise ConfigError(f"model.{self._name}.title: letters, digits, '.', '-' and '_', got {self._title!r}")
        self._image.check(f"model.{self._name}.image")
        module = self._build()
        note = f"{self._path}, seed {self._seed}"
        if self._weights:
            read_weights(module, Path(self._weights).expanduser())
            note = f"{self._path}, weights from {self._weights}"
        generator = torch.Generator().manual_seed(self._seed)
        return LoadedModel(
            name=self._title,
            module=module.eval(),
            example=tuple(torch.rand(1, *shape, generator=generator) for shape in self._shapes),
            preprocess=self._make_preprocess(),
            labels=_read_labels(self._labels),
            note=note,
        )

    def _build(self) -> torch.nn.Module:
        try:
            with _current_folder_importable(), torch.random.fork_rng(devices=[]):
                factory = _import_factory(self._path, f"model.{self._name}.path")
                torch.manual_seed(self._seed)
                module = factory(**self._kwargs)
        except ConfigError:
            raise
        except Exception as error:  # the user's constructor may raise anything
            raise GraphError(f"{self._path}(**{self._kwargs}) failed: {_error_line(error)}") from error
        if not isinstance(module, torch.nn.Module):
            raise GraphError(f"{self._path} returned a {type(module).__name__}, not a torch.nn.Module")
        return module

    def _make_preprocess(self) -> Callable[[Image.Image], torch.Tensor]:
        shapes, title = self._shapes, self._title
        mean, std, image_settings = self._mean, self._std, self._image

        def preprocess(image: Image.Image) -> torch.Tensor:
            if len(shapes) != 1:
                raise GraphError(f"model {title!r} takes {len(shapes)} inputs, but an image is a single one")
            return ImageReader(shapes[0], mean, std, image_settings)(image)

        return preprocess


@contextlib.contextmanager
def _current_folder_importable() -> Iterator[None]:
    """Let imports search the current folder, too, as `python -m` does and a console script does not."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the imported module may have edited the list
            sys.path.remove(folder)


def _error_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _import_factory(path: str, knob: str) -> Callable[..., Any]:
    module_name, _, attribute = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's file may raise anything
        raise ConfigError(
            f"{knob}: cannot import {module_name!r} of {path!r}, from {Path.cwd()} or installed: {_error_line(error)}"
        ) from error
    if not hasattr(module, attribute):
        raise ConfigError(f"{knob}: {module_name!r} has no {attribute!r}")
    factory = getattr(module, attribute)
    if not callable(factory):
        raise ConfigError(f"{knob}: {path!r} is a {type(factory).__name__}, not a class or factory")
    return factory  # type: ignore[no-any-return]


def _read_labels(path: str | None) -> Sequence[str]:
    if path is None:
        return ()
    try:
        return tuple(line.strip() for line in Path(path).expanduser().read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read the labels {path}: {error}") from None
