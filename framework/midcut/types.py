"""The values that travel through the framework. numpy only: importing this imports no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch  # noqa: TC004 - msgspec reads the annotations of what it decodes; nothing with tensors is
    from PIL import Image

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.intp]
FIELDS = ("clock_mhz", "bandwidth_kbps", "ping_ms")


class ValueSpec(msgspec.Struct, frozen=True):
    """One value that crosses a cut, as seen when the model was captured.

    Attributes:
        name: the node that made it, or the input's name.
        dtype: torch's name without the prefix (`float32`), or `int` for a plain Python int.
        shape: with the captured batch size first; `()` for an int.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()

    @property
    def is_tensor(self) -> bool:
        return self.dtype != "int"

    @property
    def payload_bytes(self) -> int:
        """Bytes of the bare values, without any encoding (8 for an int)."""
        return int(np.prod(self.shape, dtype=np.int64)) * _ITEM_BYTES[self.dtype]


_ITEM_BYTES = {
    "int": 8, "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
}  # fmt: skip
DTYPES = frozenset(_ITEM_BYTES) - {"int"}


class Node(msgspec.Struct, frozen=True):
    """One operation of the captured graph.

    Attributes:
        name: unique in the graph.
        op: what runs, e.g. `Conv2d` or `aten.convolution.default`.
        module: qualified name of the leaf module it belongs to, `""` where there is none.
    """

    name: str
    op: str
    module: str = ""


class Cut(msgspec.Struct, frozen=True):
    """One position in execution order: nodes before `index` run at the edge.

    Attributes:
        index: the `k` of "cut k", 0 (all in the cloud) to the number of nodes (all on the edge).
        layer: leaf modules finished before the cut: the paper's splitting point SP.
        ends_module: whether the node before the cut is the last one of a leaf module.
        values: the payload, in the order it is sent. At the last cut: the model's output.
        refused: why this cut is not offered, `""` where it is.
    """

    index: int
    layer: int
    ends_module: bool
    values: tuple[ValueSpec, ...]
    refused: str = ""

    @property
    def payload_bytes(self) -> int:
        return sum(value.payload_bytes for value in self.values)

    @property
    def single_tensor(self) -> bool:
        return len(self.values) == 1 and self.values[0].is_tensor


class CutTable(msgspec.Struct, frozen=True):
    """Every cut of a captured model, legal or not. Goes into profiles and to the cloud's model list.

    Attributes:
        model: name the model goes by on both sides.
        capture: how the graph was made (`fx` or `export`).
        nodes: in execution order, N of them.
        cuts: N + 1 of them; `cuts[k].index == k`.
        graph: hash over nodes, their arguments and the cut list.
        weights: hash over the names, dtypes, shapes and bytes of parameters and buffers.
    """

    model: str
    capture: str
    nodes: tuple[Node, ...]
    cuts: tuple[Cut, ...]
    graph: str
    weights: str

    @property
    def last(self) -> int:
        """The cut at which everything runs on the edge."""
        return len(self.cuts) - 1

    @property
    def layers(self) -> int:
        """Number of leaf modules."""
        return self.cuts[-1].layer

    @property
    def fingerprint(self) -> str:
        """Equal on both sides exactly when cut k means the same there."""
        return f"{self.graph}-{self.weights}"


class Placement(msgspec.Struct, frozen=True):
    """What a planner chooses among: a cut, and how the payload is encoded."""

    cut: int
    codec: str = "raw"


@dataclass(frozen=True)
class Placements:
    """The placements on offer, as columns of length P for the predictors.

    Attributes:
        model: name of the model.
        cut, layer: node position and finished leaf modules, shape (P,), int.
        payload_bytes: bare payload, shape (P,), float.
        request_bytes: what the transport writes for it, headers included, shape (P,), float;
            0 where everything runs on the edge and nothing is sent.
        reply_bytes: what the cloud writes back, headers included, shape (P,), float; 0 likewise.
        on_edge: shape (P,), bool: nothing is sent.
        codec: name of the codec per placement, length P; `raw` where nothing is sent.
        codec_s: encoding and decoding at both ends, seconds, shape (P,), float.
        nodes, layers: totals over the whole model.
        graph: `CutTable.graph`, so that a profile of another graph is told; `""` where there is none.
    """

    model: str
    cut: Ints
    layer: Ints
    payload_bytes: Floats
    request_bytes: Floats
    reply_bytes: Floats
    on_edge: NDArray[np.bool_]
    nodes: int
    layers: int
    graph: str = ""
    codec: tuple[str, ...] = ()
    codec_s: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not self.codec:
            object.__setattr__(self, "codec", ("raw",) * len(self.cut))
            object.__setattr__(self, "codec_s", np.zeros(len(self.cut)))

    def __len__(self) -> int:
        return len(self.cut)

    def __getitem__(self, index: int) -> Placement:
        return Placement(cut=int(self.cut[index]), codec=self.codec[index])


@dataclass(frozen=True, slots=True)
class Observation:
    """One telemetry snapshot, or many at once: each field a number, or an array of one shared shape.

    Attributes:
        clock_mhz: the edge's clock, MHz.
        bandwidth_kbps: edge to cloud, kbit/s (1 kbit = 1000 bit).
        ping_ms: round trip, ms.
        at_s: when, seconds since the epoch.
        source: field -> name of the source it came from.
        age_s: field -> how old the value was at `at_s`.
        missing: field -> why there is no value.
        pause_s: how long the link to the cloud usually rests between two exchanges, or does now; None before the first.
    """

    clock_mhz: Any = None
    bandwidth_kbps: Any = None
    ping_ms: Any = None
    at_s: float = field(default_factory=time.time)
    source: Mapping[str, str] = field(default_factory=dict)
    age_s: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    pause_s: float | None = None

    def values(self) -> dict[str, Any]:
        """The measured fields by name, `None` where missing."""
        return {name: getattr(self, name) for name in FIELDS}


@dataclass(frozen=True)
class Forecast:
    """Placements x objectives. All arrays have shape (..., P); leading axes are observations.

    Attributes:
        placements: the rows' meaning, P of them.
        edge_s, link_s, cloud_s: predicted parts of the latency, seconds.
        cost_usd: predicted money for one inference, US dollars.
        uncorrected: the predictors' own word, where live calibration has changed it.
    """

    placements: Placements
    edge_s: Floats
    link_s: Floats
    cloud_s: Floats
    cost_usd: Floats
    uncorrected: Forecast | None = None

    @cached_property
    def latency_s(self) -> Floats:
        """End-to-end latency, seconds."""
        return self.edge_s + self.link_s + self.cloud_s

    def __len__(self) -> int:
        return len(self.placements)

    def find(self, placement: Placement) -> int | None:
        """The row of a placement; None where it is not among them."""
        return next((row for row in range(len(self)) if self.placements[row] == placement), None)

    def row(self, index: int) -> dict[str, Any]:
        """One placement of a forecast made on a single observation, as plain numbers."""
        return {
            "cut": int(self.placements.cut[index]),
            "codec": self.placements.codec[index],
            "latency_s": float(self.latency_s[index]),
            "cost_usd": float(self.cost_usd[index]),
            "edge_s": float(self.edge_s[index]),
            "link_s": float(self.link_s[index]),
            "cloud_s": float(self.cloud_s[index]),
        }

    def without(self, index: int) -> Forecast:
        """The same forecast with one placement left out: what the runner-up is picked from."""
        return self.only(np.arange(len(self)) != index)

    def only(self, keep: NDArray[np.bool_]) -> Forecast:
        """The same forecast with some of its placements, shape (P,)."""
        columns = {
            name: getattr(self.placements, name)[keep]
            for name in ("cut", "layer", "payload_bytes", "request_bytes", "reply_bytes", "on_edge", "codec_s")
        }
        columns["codec"] = tuple(name for name, kept in zip(self.placements.codec, keep, strict=True) if kept)
        parts = {name: getattr(self, name)[..., keep] for name in ("edge_s", "link_s", "cloud_s", "cost_usd")}
        return Forecast(placements=replace(self.placements, **columns), **parts)


@dataclass(frozen=True, slots=True)
class Decision:
    """One planning step's outcome. Swapped into the engine as one reference.

    Attributes:
        placement: what to run from now on.
        index: its row in the forecast; -1 where there was no forecast to choose from.
        held: why the planner's choice does not count, `""` where it does: a fallback, or dwell.
        weight: the planner's w, 0 (fast) to 1 (cheap); None where it follows no weight.
        observation, forecast: what it was made on (`forecast` is None on a fallback).
        planning_s: time taken from observation to choice.
        limit: the planner's own limit in words, `""` where it has none; `met`: whether the placement keeps it.
    """

    placement: Placement
    index: int
    held: str
    weight: float | None
    observation: Observation
    forecast: Forecast | None = None
    planning_s: float = 0.0
    limit: str = ""
    met: bool = True

    @property
    def reason(self) -> str:
        """One line for a log: why it was held, and where it stands among the placements."""
        if self.forecast is None:
            return self.held
        latency_s, cost_usd = self.forecast.latency_s, self.forecast.cost_usd
        faster = np.count_nonzero(latency_s < latency_s[self.index])
        cheaper = np.count_nonzero(cost_usd < cost_usd[self.index])
        stands = f"of {len(self.forecast)} placements: {faster} are faster, {cheaper} are cheaper"
        weighted = "" if self.weight is None else f"at w={self.weight:g} "
        return f"{self._circumstances()}{weighted}{stands}"

    def _circumstances(self) -> str:
        if self.held:
            return f"{self.held}; " if self.met else f"{self.held}; not kept: {self.limit}; "
        if not self.limit:
            return ""
        return f"with {self.limit}, " if self.met else f"no placement has {self.limit}, this is the nearest; "


class TcpInfo(msgspec.Struct, frozen=True):
    """What the kernel knows of a connection after an exchange (Linux, `TCP_INFO`).

    Attributes:
        min_rtt_s: the shortest round trip of the last minutes, seconds.
        rtt_s: the smoothed one; it grows with what the connection itself has queued.
        delivery_kbps: the last measured rate of delivery, kbit/s of TCP payload.
        app_limited: there was not enough to send, so that the rate says nothing of the link.
        retransmits: segments sent again since the connection began.
    """

    min_rtt_s: float
    rtt_s: float
    delivery_kbps: float
    app_limited: bool
    retransmits: int


class Transfer(msgspec.Struct, frozen=True):
    """One completed exchange with the cloud, for sources that measure the link passively.

    Attributes:
        sent_bytes, received_bytes: on the wire, headers included.
        wall_s: from the first byte written to the last byte read.
        server_s: of that, spent inside the cloud (decoding, queueing, computing).
        at_s: when it ended, seconds since the epoch.
        tcp: what the kernel says; None where it says nothing.
        fresh: the connection was opened for this exchange, so that TCP was starting slowly.
        ping_s: the round trip as telemetry has it then, without our own queue; None where it has none.
    """

    sent_bytes: int
    received_bytes: int
    wall_s: float
    server_s: float
    at_s: float
    tcp: TcpInfo | None = None
    fresh: bool = False
    ping_s: float | None = None


class Encoded(msgspec.Struct, frozen=True):
    """A tensor as a codec made it.

    Attributes:
        data: the bytes, in one or several pieces; nothing is copied to join them. They may be views of the tensor.
        parameters: what decoding needs beside them, e.g. a scale: strings, numbers and bools.
        dim_order: physical order of the dimensions that the bytes stand in, None for the usual one.
    """

    data: Sequence[bytes | bytearray | memoryview]
    parameters: Mapping[str, str | int | float | bool] = msgspec.field(default_factory=dict)
    dim_order: tuple[int, ...] | None = None

    @property
    def size_bytes(self) -> int:
        return sum(memoryview(piece).nbytes for piece in self.data)


class TailRequest(msgspec.Struct, frozen=True):
    """What a transport carries to the cloud.

    Attributes:
        values: tensors and ints as `Cut.values` lists.
        codec: name of the codec for the tensors.
        timeout_s: nobody waits for the answer any longer than that; None for as long as the transport does.
        names: of the values, as `Cut.values` has them; without any they go by their position.
    """

    model: str
    cut: int
    fingerprint: str
    values: Sequence[torch.Tensor | int]
    request_id: str
    codec: str = "raw"
    timeout_s: float | None = None
    names: Sequence[str] = ()


class TailReply(msgspec.Struct, frozen=True):
    """What came back: the values live at the last cut, and where the time went.

    Attributes:
        values: the model's output values, flat, in the order of the last cut.
        compute_s: the tail alone, seconds, by the cloud's clock.
        server_s: everything inside the cloud, decoding, queueing and encoding included.
        sent_bytes, received_bytes: on the wire, headers included.
        wall_s: from the first byte written to the last byte read, without encoding, decoding and connecting.
        tcp, fresh: as in `Transfer`.
    """

    values: Sequence[torch.Tensor | int]
    compute_s: float
    server_s: float
    sent_bytes: int
    received_bytes: int
    wall_s: float
    tcp: TcpInfo | None = None
    fresh: bool = False


class HeldModel(msgspec.Struct, frozen=True):
    """A model as a cloud lists it.

    Attributes:
        fingerprint: its `CutTable.fingerprint` there.
        legal: the cuts the cloud takes requests at.
        codecs: what tensors may be encoded with; None where the cloud does not say.
    """

    fingerprint: str
    legal: tuple[int, ...]
    codecs: tuple[str, ...] | None = None


class InferenceResult(msgspec.Struct, frozen=True):
    """One answered request.

    Attributes:
        output: what the unsplit model would have returned.
        cut: the cut it began with.
        finished_by: `cloud`, or `edge` where nothing was sent or the cloud failed.
        fallback: why the edge finished what the cloud should have, `""` where it did not have to.
        edge_s, cloud_s: measured seconds of computation.
        link_s: what the exchange with the cloud took beside the cloud's computation: encoding and decoding on both
            sides, connecting, the wire, queueing in the cloud; the whole try where it failed; 0 where nothing was
            sent. Where nothing queues at the edge this is the whole less both computations, as in section 4.1 of the
            paper.
        latency_s: the whole, seconds. More than the sum of the parts by what the request waited for the edge's
            compute thread.
        cost_usd: the cost model applied to the measured times.
        predicted: the decision's row for this cut (`Forecast.row`), empty on a fallback decision.
        codec: what its tensors were to be sent with; `raw` where nothing was.
        server_s: of the exchange, spent inside the cloud: decoding, queueing, computing, encoding.
    """

    request_id: str
    output: Any
    cut: int
    finished_by: str
    fallback: str
    edge_s: float
    link_s: float
    cloud_s: float
    latency_s: float
    cost_usd: float
    sent_bytes: int
    predicted: Mapping[str, float]
    codec: str = "raw"
    server_s: float = 0.0


@dataclass(frozen=True)
class LoadedModel:
    """What a model component returns: the network and what belongs to it.

    Attributes:
        name: what both sides call it.
        module: in eval mode, on the CPU.
        example: positional inputs of batch size 1 that the module accepts.
        preprocess: an image to one input of batch size 1.
        labels: class names by index, empty where unknown.
        note: where the weights come from, one line; shown at start.
    """

    name: str
    module: torch.nn.Module
    example: tuple[torch.Tensor, ...]
    preprocess: Callable[[Image.Image], torch.Tensor]
    labels: Sequence[str] = ()
    note: str = ""
