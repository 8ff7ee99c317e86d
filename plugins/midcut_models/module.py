"""Any `torch.nn.Module` of the user."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midcut.errors import ConfigError, FileError, GraphError
from midcut.types import LoadedModel
from midcut_models.config import ImageSettings
from midcut_models.factories import make_module
from midcut_models.images import ImageReader
from midcut_models.inputs import call_by_name, make_inputs, make_ranges
from midcut_models.mnist import read_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
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
        inputs: Mapping[str, Any],
        weights: str | None,
        seed: int,
        mean: list[float],
        std: list[float],
        labels: str | None,
        title: str | None = None,
        image: ImageSettings | None = None,
        smallest_shapes: Sequence[Sequence[int]] = (),
        largest_shapes: Sequence[Sequence[int]] = (),
    ) -> None:
        self._ends = (smallest_shapes, largest_shapes)
        self._name = name
        self._title = name if title is None else title
        self._path = path
        self._kwargs = kwargs
        self._input_shapes = input_shapes
        self._inputs = inputs
        self._weights = weights
        self._seed = seed
        self._mean = mean
        self._std = std
        self._labels = labels
        self._image = image or ImageSettings()

    def load(self) -> LoadedModel:
        key = f"model.{self._name}"
        if not _TITLE.fullmatch(self._title):
            raise ConfigError(f"{key}.title: letters, digits, '.', '-' and '_', got {self._title!r}")
        self._image.check(f"{key}.image")
        inputs = make_inputs(self._input_shapes, self._inputs, self._seed, key)
        ranges = make_ranges(inputs, self._ends, self._inputs, key)
        module = make_module(self._path, self._kwargs, self._seed, f"{key}.path")
        note = f"{self._path}, seed {self._seed}"
        if self._weights:
            read_weights(module, Path(self._weights).expanduser())
            note = f"{self._path}, weights from {self._weights}"
        return LoadedModel(
            name=self._title,
            module=call_by_name(module, inputs.names, key) if inputs.names else module,
            example=inputs.example,
            preprocess=self._make_preprocess(inputs.shapes),
            labels=_read_labels(self._labels),
            note=note,
            ranges=ranges,
        )

    def _make_preprocess(self, shapes: Sequence[tuple[int, ...]]) -> Callable[[Image.Image], torch.Tensor]:
        """A reader of pictures, or a function that says why the model takes none."""
        reason = f"model {self._title!r} takes {len(shapes)} inputs, but an image is a single one"
        if len(shapes) == 1:
            try:
                return ImageReader(shapes[0], self._mean, self._std, self._image)
            except GraphError as error:
                reason = str(error)

        def refuse(_: Image.Image) -> torch.Tensor:
            raise GraphError(reason)

        return refuse


def _read_labels(path: str | None) -> Sequence[str]:
    if path is None:
        return ()
    try:
        return tuple(line.strip() for line in Path(path).expanduser().read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read the labels {path}: {error}") from None
