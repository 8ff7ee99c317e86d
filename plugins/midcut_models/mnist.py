"""The paper's digit network: two convolutions, two dense layers, 13 leaf modules."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import nn

from midcut.errors import GraphError
from midcut.types import LoadedModel
from midcut_models.config import ImageSettings
from midcut_models.images import ImageReader

SHIPPED = Path(__file__).with_name("mnist.safetensors")
DIGITS = Path(__file__).with_name("digits")
SHAPE = (1, 28, 28)
MEAN, STD = 0.1307, 0.3081
PICKLE_SUFFIXES = frozenset({".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar"})
# The digits it was trained on are white on black.
_preprocess = ImageReader(SHAPE, [MEAN], [STD], ImageSettings(background="black"))


def digit_network() -> nn.Sequential:
    """Make the untrained network, which maps (B, 1, 28, 28) to log probabilities (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 10, kernel_size=5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(10, 20, kernel_size=5),
        nn.Dropout(),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(320, 50),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(50, 10),
        nn.LogSoftmax(dim=1),
    )


class Mnist:
    """The digit network with trained weights."""

    def __init__(self, *, name: str, weights: str | None = None) -> None:
        self._name = name
        self._weights = Path(weights).expanduser() if weights else SHIPPED

    def load(self) -> LoadedModel:
        network = digit_network()
        metadata = read_weights(network, self._weights)
        return LoadedModel(
            name=self._name,
            module=network.eval(),
            example=(_example_digit(),),
            preprocess=_preprocess,
            labels=tuple(str(digit) for digit in range(10)),
            note=metadata.get("note", f"weights from {self._weights}"),
        )


def _example_digit() -> torch.Tensor:
    """Read a real digit, so that encoded sizes measured on the example are those of digits."""
    with Image.open(DIGITS / "0000.png") as digit:
        example: torch.Tensor = _preprocess(digit)
        return example


def read_weights(module: nn.Module, path: Path) -> dict[str, str]:
    """Load a safetensors state dict into a module; returns the file's metadata.

    Raises:
        GraphError: the file is missing, is not safetensors, or holds another network's weights.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise GraphError(
            f"{path} is a pickle, which could run code when it is read: convert it once, to safetensors, by "
            f"`midcut convert {path} {path.with_suffix('.safetensors').name}`"
        )
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # safe_open's file is not a mapping
            metadata = file.metadata() or {}
        _load_state(module, state)
    except (OSError, SafetensorError) as error:
        raise GraphError(f"cannot read the weights {path}: {error}; a safetensors file is needed") from None
    except RuntimeError as error:
        raise GraphError(f"the weights {path} belong to another network: {' '.join(str(error).split())}") from None
    return dict(metadata)


def _load_state(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load a state dict, in which a tensor that has several names in the module needs one of them only.

    Raises:
        RuntimeError: names or shapes do not fit.
    """
    missing, unexpected = module.load_state_dict(state, strict=False)
    tensors = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    loaded = {id(tensors[name]) for name in state if name in tensors}
    missing = [name for name in missing if id(tensors.get(name)) not in loaded]
    if missing or unexpected:
        raise RuntimeError(f"missing {missing[:3]}, unexpected {unexpected[:3]}")
