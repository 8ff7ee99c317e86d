"""A layer fit: seconds of a node from what it computes, for models that were never profiled on the device."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from midcut.profiles.shipped import find_path
from midcut.results.files import read_json, write_json
from midcut.terms import LayerFeatures, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midcut.types import Floats, Node

FILE = "layers.json"
"""Its name in a run directory of `midcut fit what=layers`."""
FORMAT = "midcut-layers/1"
OTHER = "other"
"""The kind whose law is used for a kind that no profile had."""
VIEW = "view"
"""The kind of nodes that only look at existing memory: they take no time."""
_FLOAT_BYTES = 4


class KindLaw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds of one kind of node: features times `core` times reference clock / clock, plus features times `memory`.

    Attributes:
        core, memory: one coefficient per feature, none negative, except that Kang's least squares allow it.
        nodes: how many nodes it was fitted to.
        error: median of |predicted - measured| / measured over these.
    """

    core: tuple[float, ...]
    memory: tuple[float, ...]
    nodes: int
    error: float


class LayerFit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Laws of all kinds of nodes on one device.

    Attributes:
        device: name of the machine; `role`, `threads`: as in its profiles.
        models: whose profiles it was fitted to.
        features: which features the coefficients belong to.
        clock_mhz: the reference clock; null where the profiles have none.
        clock_min_mhz: the lowest clock of the profiles; null likewise.
        modelled: whether any of the profiles was computed by a model instead of measured.
        kinds: kind -> law; the kind `other` is fitted to all nodes that are no convolutions or matrix products.
        format: name and version of the file format.
    """

    device: str
    role: Role
    threads: int
    models: tuple[str, ...]
    features: LayerFeatures
    clock_mhz: float | None
    clock_min_mhz: float | None
    modelled: bool
    kinds: dict[str, KindLaw]
    format: str = FORMAT

    def seconds(self, nodes: Sequence[Node]) -> tuple[Floats, Floats]:
        """Predict the nodes of any model.

        Returns:
            core, memory: seconds at the reference clock that follow the clock, and those that do not, each (N,).
        """
        core, memory = np.zeros(len(nodes)), np.zeros(len(nodes))
        values = feature_columns(nodes, self.features)
        for index, node in enumerate(nodes):
            if node.kind == VIEW:
                continue
            law = self.kinds.get(kind_of(node, self.features), self.kinds[OTHER])
            core[index] = max(values[index] @ np.array(law.core), 0.0)
            memory[index] = max(values[index] @ np.array(law.memory), 0.0)
        return core, memory


def kind_of(node: Node, features: LayerFeatures) -> str:
    """The kind of law for a node: Kang et al. have one for all convolutions."""
    return "conv" if features is LayerFeatures.kang and node.kernel else node.kind


def feature_columns(nodes: Sequence[Node], features: LayerFeatures) -> Floats:
    """The features of nodes as columns, shape (N, F)."""
    return np.array([_FEATURES[features](node) for node in nodes], dtype=np.float64)


def _work_and_bytes(node: Node) -> tuple[float, ...]:
    return (node.macs, node.in_bytes, node.out_bytes, node.param_bytes, 1.0)


def _published(node: Node) -> tuple[float, ...]:
    """Kang et al. (2017), section 4.2: sizes in elements, and for convolutions (filter / stride)^2 times filters."""
    inputs, outputs = node.in_bytes / _FLOAT_BYTES, node.out_bytes / _FLOAT_BYTES
    if not node.kernel:
        return (inputs, outputs, 1.0)
    per_output = node.macs / max(outputs, 1.0)  # multiply-adds of one output element
    filters = node.param_bytes / _FLOAT_BYTES / (per_output + 1.0)
    return (inputs, math.prod(node.kernel) / math.prod(node.stride) * filters, 1.0)


_FEATURES: Mapping[LayerFeatures, Callable[[Node], tuple[float, ...]]] = {
    LayerFeatures.macs: _work_and_bytes,
    LayerFeatures.kang: _published,
}
_HINT = "make one with `midcut fit what=layers profiles='[A.json,B.json]'`"


def read_layer_fit(path: Path | str) -> LayerFit:
    """Read and check a layer fit.

    Raises:
        FileError: missing, not JSON, not this format, or coefficients that cannot give seconds.
    """
    return read_json(Path(path), LayerFit, "layer fit", _HINT, _fault)


def write_layer_fit(fit: LayerFit, path: Path | str) -> Path:
    """Write a layer fit atomically.

    Raises:
        FileError: `read_layer_fit` would refuse its numbers, or the file cannot be written.
    """
    return write_json(Path(path), fit, "layer fit", _fault)


def find_layer_fit(spec: Path | str) -> LayerFit:
    """Read a layer fit from a path, or the shipped one of a device.

    Raises:
        FileError: there is none; the message lists the shipped ones.
    """
    return read_layer_fit(find_path("layer_fit", spec, _HINT))


def _fault(fit: LayerFit) -> str:
    """What is wrong with a layer fit, starting with the path inside the file; `""` if nothing is."""
    if OTHER not in fit.kinds:
        return f"$.kinds has no {OTHER!r}"
    count = 5 if fit.features is LayerFeatures.macs else 3
    for kind, law in fit.kinds.items():
        for name in ("core", "memory"):
            values = getattr(law, name)
            if len(values) != count or not all(map(math.isfinite, values)):
                return f"$.kinds.{kind}.{name} must be {count} finite numbers, got {list(values)}"
    return ""
