"""A model that `midcut export` wrote: for `midcut edge`, without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from midcut.errors import GraphError
from midcut.exported import read_folder
from midcut.types import LoadedModel
from midcut_models.centre_crop import CentreCrop
from midcut_models.config import Fit, ImageSettings, Interpolation
from midcut_models.images import ImageReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from midcut.types import Tensor


class Exported:
    """The model of a folder, under the name that it had when it was exported."""

    def __init__(self, *, name: str, folder: str) -> None:
        del name  # the folder has the model's
        self._folder = Path(folder).expanduser()

    def load(self) -> LoadedModel:
        found = read_folder(self._folder)
        manifest = found.manifest
        return LoadedModel(
            name=manifest.table.model,
            module=cast("Any", None),
            example=found.example(),
            preprocess=_reader(manifest.preprocess, self._folder),
            labels=manifest.labels,
            note=f"exported; {manifest.note}".rstrip("; "),
            exported=found,
        )


def _reader(description: dict[str, Any] | None, folder: Path) -> Callable[[Image.Image], Tensor]:
    """What makes an input of a picture.

    Raises:
        GraphError: the description is not one that this version knows.
    """
    if description is None:
        return _no_pictures
    fields = dict(description)
    try:
        kind = fields.pop("kind")
        if kind == "centre_crop":
            return CentreCrop(**fields)
        if kind == "fitted":
            settings = dict(fields.pop("settings"))
            settings["interpolation"] = Interpolation(settings["interpolation"])
            settings["fit"] = Fit(settings["fit"])
            return ImageReader(**fields, settings=ImageSettings(**settings))
    except (KeyError, TypeError, ValueError) as error:
        raise GraphError(f"{folder}: its preprocessing of pictures cannot be read: {error}; export it again") from None
    raise GraphError(f"{folder}: its preprocessing of pictures is of the unknown kind {kind!r}; export it again")


def _no_pictures(_: Image.Image) -> Tensor:
    raise GraphError("the exported model has no preprocessing of pictures; send tensors")
