"""The format of an exported folder: a manifest in JSON, ONNX graphs in an archive, and one file of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import msgspec

from midcut.types import CutTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midcut.protocols import Network

FORMAT: Final = "midcut-export/2"
MANIFEST: Final = "manifest.json"
GRAPHS: Final = "graphs.zip"
WEIGHTS: Final = "weights.bin"
EXAMPLE: Final = "example.safetensors"


class Weight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array in the file of weights: little-endian, at an offset in bytes that is a multiple of 64."""

    offset: int
    dtype: str
    shape: tuple[int, ...]


class SavedSegment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The nodes between two cuts.

    Attributes:
        start, stop: the cuts.
        graph: name of the ONNX graph in the archive; `""` where no value is computed between the cuts.
        inputs: position among the values at `start`, for each input of the graph.
        outputs: for each value at `stop` the number of the graph's output, or None.
        passed: for each value at `stop` its position at `start` if it is unchanged, or None.
        weights: name of an initializer -> number of its weight.
        ints: numbers of the graph's outputs that are numbers at `stop`, as tensors without dimensions.
        orders: number of a graph's output -> order of its dimensions in memory, which nodes in PyTorch may rely on.
        pack: whether each session packs its matrices, which copies them.
    """

    start: int
    stop: int
    graph: str
    inputs: tuple[int, ...]
    outputs: tuple[int | None, ...]
    passed: tuple[int | None, ...]
    weights: dict[str, int]
    ints: tuple[int, ...] = ()
    orders: dict[int, tuple[int, ...]] = {}
    pack: bool = True


class SavedSegments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All segments, and where their weights are.

    Attributes:
        refused: cut -> why its head or tail is not among them.
        made_by: what wrote them, for people.
    """

    segments: tuple[SavedSegment, ...]
    weights: tuple[Weight, ...]
    refused: dict[int, str]
    made_by: str


class ValueForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of `midcut.graph.values.ExpectedValue`; name and dtype are in the table."""

    sizes: tuple[int, ...]
    growth: tuple[int, ...]
    any_size: bool


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of an exported model.

    Attributes:
        format: `midcut-export/2`.
        versions: package -> version, of what exported it.
        table: nodes and cuts, with the fingerprint by which a cloud knows the same graph and weights.
        legal: the cuts whose heads and tails are in the folder.
        expected: cut -> what each of its values must look like.
        node_s: PyTorch's seconds per node where it was exported: only their proportions are used.
        saved: the segments.
        preprocess: how a picture becomes the input, as the model's component describes it; None if it cannot be.
        labels: class names by index, empty if unknown.
        note: one line on the origin of the weights.
        digests: file -> BLAKE2b digest of its content.
    """

    format: str
    versions: dict[str, str]
    table: CutTable
    legal: tuple[int, ...]
    expected: tuple[tuple[ValueForm, ...], ...]
    node_s: tuple[float, ...]
    saved: SavedSegments
    preprocess: dict[str, Any] | None
    labels: tuple[str, ...]
    note: str
    digests: dict[str, str]


@runtime_checkable
class SegmentWriter(Protocol):
    """An executor that can also write a network's segments."""

    def save(self, network: Network, cuts: Sequence[int], graphs: Path, weights: Path) -> SavedSegments:
        """Write the whole network, and the head before and the tail after each cut.

        Args:
            network: the captured model.
            cuts: those wanted.
            graphs, weights: the files to write.

        Returns:
            what was written, and the cuts that cannot be.

        Raises:
            ExecutorError: the network cannot be exported.
        """
        ...
