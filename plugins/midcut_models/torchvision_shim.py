"""Import of torchvision that also works beside a CPU build of torch. Nothing else may import torchvision.

torchvision's PyPI wheel has compiled operators that load CUDA libraries. With a CPU build of torch they do not load,
and `import torchvision` then fails with `operator torchvision::nms does not exist` (and next for `qnms`), because it
registers shape rules for the two. No classification model calls either, so declaring their schemas is enough. Where the
real operators load, nothing is declared.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[Any] = []  # torch removes a library's schemas when the object is deleted


def import_torchvision() -> Any:
    """Import torchvision, with the two schemas declared first where its operators do not load.

    Raises:
        ImportError: torchvision is not installed, or does not fit the installed torch.
    """
    if not _declared and not _operators_load():
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name, schema in _SCHEMAS.items():
            if not hasattr(torch.ops.torchvision, name):
                library.define(name + schema)
        _declared.append(library)
    importlib.import_module("torchvision.models")
    return importlib.import_module("torchvision")


def _operators_load() -> bool:
    """Whether torchvision's compiled operators load, tried in the way torchvision itself does."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # the import will name what is missing
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            ctypes.CDLL(str(library))
        except OSError:
            continue
        return hasattr(torch.ops.torchvision, "nms")
    return False
