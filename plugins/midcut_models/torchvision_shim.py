"""Import of torchvision that also works beside a CPU build of torch. Nothing else may import torchvision.

torchvision's PyPI wheel has compiled operators that load CUDA libraries. With a CPU build of torch they do not load,
and `import torchvision` then fails with `operator torchvision::nms does not exist` (and next for `qnms`), because it
registers shape rules for the two. So both are declared here; `nms`, which detection models call, is also computed, in
torch, and `qnms` cannot be called. Where the real operators load, nothing is declared.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[Any] = []  # torch removes a library's schemas when the object is deleted


def import_torchvision() -> Any:
    """Import torchvision, with the two operators declared first where its own ones do not load.

    Raises:
        ImportError: torchvision is not installed, or does not fit the installed torch.
    """
    declare_operators()
    importlib.import_module("torchvision.models")
    use_declared_operators()
    return importlib.import_module("torchvision")


def declare_operators() -> None:
    """Make `import torchvision` work, whoever imports it, where its own operators do not load."""
    if _declared or importlib.util.find_spec("torchvision") is None or _operators_load():
        return
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + schema)
            if name == "nms":
                library.impl(name, _keep_best_boxes, "CPU")
    _declared.append(library)


def use_declared_operators() -> None:
    """Keep torchvision, which is imported by now, from refusing `nms` because its own operators did not load."""
    extension = sys.modules.get("torchvision.extension")
    if _declared and extension is not None:
        vars(extension)["_has_ops"] = lambda: True  # what every operator of torchvision asks first


def _keep_best_boxes(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Non-maximum suppression: indices of the boxes (N, 4) that no better one overlaps too much, best first."""
    order = scores.argsort(descending=True, stable=True)
    left, top, right, bottom = boxes[order].unbind(1)
    area = (right - left) * (bottom - top)
    width = (torch.minimum(right[:, None], right) - torch.maximum(left[:, None], left)).clamp(min=0)
    height = (torch.minimum(bottom[:, None], bottom) - torch.maximum(top[:, None], top)).clamp(min=0)
    shared = width * height
    overlaps = shared / (area[:, None] + area - shared) > iou_threshold
    kept = torch.ones(len(order), dtype=torch.bool)
    for at in range(len(order)):
        if kept[at]:
            kept[at + 1 :] &= ~overlaps[at, at + 1 :]
    return order[kept]


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
