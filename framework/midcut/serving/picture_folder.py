"""A folder of pictures of what a model will see, as its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from midcut.errors import ConfigError, FileError, MalformedError
from midcut.serving.formats import suffixes
from midcut.serving.images import prepared_input, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from midcut.types import LoadedModel, Tensor

# With fewer pictures, one that changes its class moves an agreement by more than a tenth.
LEAST_PICTURES: Final = 10
# Correlation of neighbouring pixels: 0.9 and more in photographs, 0 in noise, some tenths in dithered drawings.
_LEAST_CORRELATION: Final = 0.2


def picture_files(folder: str, most: int, key: str = "agreement") -> list[Path]:
    """The pictures of a folder; of more than `most`, that many, evenly spread over their names.

    Args:
        key: of the setting that names the folder, for errors.

    Raises:
        ConfigError: there is no such folder, or it has too few pictures. Random inputs are named as what they are.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        why = " (random inputs agree with anything: their class hardly depends on them)" if folder == "random" else ""
        raise ConfigError(f"{key}={folder} is not a folder of pictures{why}")
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in suffixes() and file.is_file()]
    if len(files) < LEAST_PICTURES:
        raise ConfigError(
            f"{key}={folder} has {len(files)} pictures, and {key.rpartition('.')[2]} takes {LEAST_PICTURES} or more "
            "of what the edge will see"
        )
    chosen = np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int)
    return [files[position] for position in chosen]


def read_pictures(model: LoadedModel, files: Sequence[Path], key: str = "agreement") -> list[Tensor]:
    """The model's inputs for pictures.

    Raises:
        FileError: one cannot be read.
        ConfigError: the pictures are noise.
    """
    inputs, correlations = [], []
    for file in files:
        try:
            image = read_image(file.read_bytes(), shape=tuple(model.example[0].shape))
            inputs.append(prepared_input(model, image))
        except (OSError, MalformedError) as error:
            raise FileError(f"{key}: {file} cannot be used: {error}") from None
        correlations.append(_neighbour_correlation(image))
    if float(np.median(correlations)) < _LEAST_CORRELATION:
        raise ConfigError(
            f"{key}: these pictures are noise, for which a model's class hardly changes whatever is done to what it "
            "computes: give pictures of what the edge will see"
        )
    return inputs


def _neighbour_correlation(image: Image.Image) -> float:
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    left, right = grey[:, :-1].ravel(), grey[:, 1:].ravel()
    if left.size < 2 or left.std() == 0.0 or right.std() == 0.0:
        return 1.0
    return float(np.corrcoef(left, right)[0, 1])
