"""The data types that midcut's parts and plugins exchange. Light: importing this imports numpy, but no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from midcut.errors import ForecastError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from PIL import Image

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.intp]
Tensor: TypeAlias = Any
"""A `torch.Tensor`, or a `numpy.ndarray` where a model runs without PyTorch; see `midcut.tensors`."""
FIELDS = ("clock_mhz", "bandwidth_kbps", "ping_ms")
LATENCY_AND_COST = ("latency_s", "cost_usd")
"""The columns that planners weigh unless `aim` names others."""


class ValueSpec(msgspec.Struct, frozen=True):
    """One value that crosses a cut, as it was when the model was captured.

    Attributes:
        name: name of the node that makes it, or of the input.
        dtype: torch's name without the prefix (`float32`), or `int` for a plain Python int.
        shape: the captured batch size is its first item; `()` for an int.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()

    @property
    def is_tensor(self) -> bool:
        return self.dtype != "int"

    @property
    def payload_bytes(self) -> int:
        """Bytes of the values without any encoding (8 for an int)."""
        return int(np.prod(self.shape, dtype=np.int64)) * _ITEM_BYTES[self.dtype]


_ITEM_BYTES = {
    "int": 8, "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
}  # fmt: skip
DTYPES = frozenset(_ITEM_BYTES) - {"int"}


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation of the captured graph.

    Attributes:
        name: unique in the graph.
        op: the operation, e.g. `Conv2d` or `aten.convolution.default`.
        module: qualified name of the leaf module that it belongs to, `""` if there is none.
        kind: what it computes, e.g. `conv`, `depthwise`, `pointwise`, `linear`, `pool`; `view` if it only looks at
            memory that exists already. `""` in files of older versions, which have none of the following either.
        macs: multiply-adds for the captured shapes, as are the bytes.
        in_bytes, out_bytes, param_bytes: of the tensors that it reads, of its output, and of its parameters.
        kernel, stride, groups: of a convolution; groups is 0 for other nodes.
    """

    name: str
    op: str
    module: str = ""
    kind: str = ""
    macs: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    param_bytes: int = 0
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    groups: int = 0


class Cut(msgspec.Struct, frozen=True):
    """One position in execution order at which the network can be cut: nodes before `index` run at the edge.

    Attributes:
        index: the `k` of "cut k", from 0 (all in the cloud) to the number of nodes (all at the edge).
        layer: number of leaf modules finished before the cut, the paper's splitting point SP.
        ends_module: whether the node before the cut is the last one of a leaf module.
        values: the payload, in the order in which it is sent. At the last cut, the model's output.
        refused: why this cut is not offered; `""` if it is.
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


class ShapeRange(msgspec.Struct, frozen=True):
    """The sizes that one input may have, without the batch dimension.

    Attributes:
        smallest, largest: per dimension, both included; equal where the size is fixed.
    """

    smallest: tuple[int, ...]
    largest: tuple[int, ...]

    @property
    def text(self) -> str:
        """In words, with B for the batch size: `[B, 3, 32 to 512, 32 to 512]`."""
        sizes = [
            f"{low}" if low == high else f"{low} to {high}"
            for low, high in zip(self.smallest, self.largest, strict=True)
        ]
        return f"[{', '.join(['B', *sizes])}]"


class Output(msgspec.Struct, frozen=True):
    """One output of a model.

    Attributes:
        name: as the model names it: a key, a field, `output_1` in a tuple, `output` if it is the only one.
        value: position of its value at the last cut.
    """

    name: str
    value: int


class CutTable(msgspec.Struct, frozen=True, dict=True):
    """All cuts of a captured model, legal or not. It is part of profiles and of the cloud's model list.

    Attributes:
        model: name of the model on both sides.
        capture: how the graph was captured (`fx` or `export`).
        nodes: the N nodes in execution order.
        cuts: the N + 1 cuts; `cuts[k].index == k`.
        graph: hash over the nodes, their settings, hooks and arguments, and the cuts.
        weights: hash over parameters, buffers and all other tensors that the graph uses, packed ones included.
        outputs: the outputs by the model's own names; a value may be several of them.
        ranges: for each input the sizes that it may have; empty where they are those of the cuts.
        output_ranges: the sizes of each of `outputs` at the smallest and at the largest inputs; empty likewise.
    """

    model: str
    capture: str
    nodes: tuple[Node, ...]
    cuts: tuple[Cut, ...]
    graph: str
    weights: str
    outputs: tuple[Output, ...] = ()
    ranges: tuple[ShapeRange, ...] = ()
    output_ranges: tuple[ShapeRange, ...] = ()

    @property
    def output_specs(self) -> dict[str, ValueSpec]:
        """The values of the outputs by name, in the model's order."""
        values = self.cuts[-1].values
        if not self.outputs:  # a table made by an older version
            return {spec.name: spec for spec in values}
        return {output.name: values[output.value] for output in self.outputs}

    @property
    def largest_growth(self) -> float:
        """How many times the elements of the example an input may have; 1 where its sizes are fixed."""
        pairs = zip(self.ranges, self.cuts[0].values, strict=False)
        return max((math.prod(entry.largest) / math.prod(spec.shape[1:]) for entry, spec in pairs), default=1.0)

    @cached_property
    def reply_names(self) -> tuple[str, ...]:
        """A name for each value at the last cut: that of the first output that it is."""
        first = {output.value: output.name for output in reversed(self.outputs)}
        return tuple(first.get(index, spec.name) for index, spec in enumerate(self.cuts[-1].values))

    @cached_property
    def last(self) -> int:
        """The cut at which everything runs on the edge."""
        return len(self.cuts) - 1

    @property
    def layers(self) -> int:
        """Number of leaf modules."""
        return self.cuts[-1].layer

    @cached_property
    def fingerprint(self) -> str:
        """Hash that is equal on both sides if and only if every cut means the same on both."""
        return f"{self.graph}-{self.weights}"

    @cached_property
    def key(self) -> tuple[str, str]:
        """Name and fingerprint: what a server holds at most once."""
        return self.model, self.fingerprint


class Placement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One choice of a planner: for each hop of a route a cut, and the codec for its payload.

    Attributes:
        cut: nodes before it run here.
        codec: of the payload at that cut.
        onward: where the next tier, a relay, stops in turn; None where it runs all that is left.
    """

    cut: int
    codec: str = "raw"
    onward: Placement | None = None

    @property
    def text(self) -> str:
        """In words: `cut 3`, or `cuts 3, 9 as zstd` on three tiers."""
        hops = [f"{hop.cut}" if hop.codec == "raw" else f"{hop.cut} as {hop.codec}" for hop in self.hops]
        return f"cut{'s' if len(hops) > 1 else ''} {', '.join(hops)}"

    @property
    def hops(self) -> tuple[Placement, ...]:
        """The placement and those that follow it, one for each hop."""
        return (self,) if self.onward is None else (self, *self.onward.hops)


@dataclass(frozen=True)
class Placements:
    """The P placements that a planner can choose from, as columns for the predictors.

    Attributes:
        model: name of the model.
        cut, layer: `Cut.index` and `Cut.layer` of each placement, shape (P,), int.
        payload_bytes: payload without encoding, shape (P,), float.
        request_bytes: bytes that the transport sends for it, headers included, shape (P,), float; 0 where everything
            runs at the edge and nothing is sent.
        reply_bytes: bytes that the cloud sends back, headers included, shape (P,), float; 0 likewise.
        on_edge: whether everything runs at the edge and nothing is sent, shape (P,), bool.
        codec: name of the codec of each placement, length P; `raw` where nothing is sent.
        codec_s: seconds of encoding and decoding at both ends together, shape (P,), float.
        encode_mhz_s: the part of `codec_s` at the edge, times the clock in MHz at which it takes so long, shape (P,),
            float; 0 where that clock is unknown. At another clock it takes this divided by that clock.
        encode_s: that part itself, where the clock is known, else 0, shape (P,), float.
        prepare_s: seconds of decoding and preprocessing a picture at the edge before the model, shape (P,), float; 0
            where its file is sent, and everywhere if no file may be.
        prepare_mhz: the clock at which it takes so long; 0 if unknown.
        graph_nodes: the nodes with their features, for predictors that know no profile of the model; may be empty.
        nodes, layers: totals of the whole model.
        graph: `CutTable.graph`, so that a profile of another graph is noticed; `""` if unknown.
        onward: the same P placements as the next tier, a relay, goes on with them: its `cut` is where the relay stops,
            its `on_edge` says where the relay runs all that is left. None on two tiers.
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
    prepare_s: Floats = field(default_factory=lambda: np.zeros(0))
    graph_nodes: tuple[Node, ...] = ()
    onward: Placements | None = None
    encode_s: Floats = field(default_factory=lambda: np.zeros(0))
    encode_mhz_s: Floats = field(default_factory=lambda: np.zeros(0))
    prepare_mhz: float = 0.0

    def __post_init__(self) -> None:
        if not self.codec:
            object.__setattr__(self, "codec", ("raw",) * len(self.cut))
            object.__setattr__(self, "codec_s", np.zeros(len(self.cut)))
        for name in ("prepare_s", "encode_s", "encode_mhz_s"):
            if len(getattr(self, name)) != len(self.cut):
                object.__setattr__(self, name, np.zeros(len(self.cut)))

    def __len__(self) -> int:
        return len(self.cut)

    def __getitem__(self, index: int) -> Placement:
        passes_on = self.onward is not None and not self.onward.on_edge[index]
        onward = self.onward[index] if self.onward is not None and passes_on else None
        return Placement(int(self.cut[index]), self.codec[index], onward)

    def take(self, rows: Ints) -> Placements:
        """Return some of the placements, by their indices."""
        bytes_of, seconds_of = ("payload_bytes", "request_bytes", "reply_bytes"), ("codec_s", "encode_s", "prepare_s")
        names = ("cut", "layer", "on_edge", "encode_mhz_s", *bytes_of, *seconds_of)
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in names}
        columns["codec"] = tuple(self.codec[row] for row in rows.tolist())
        return replace(self, **columns, onward=None if self.onward is None else self.onward.take(rows))


@dataclass(frozen=True, slots=True)
class Observation:
    """One telemetry snapshot, or many at once: each field is a number, or an array of a shape that all fields share.

    Attributes:
        clock_mhz: clock of the edge server, MHz.
        bandwidth_kbps: bandwidth from edge to cloud, kbit/s (1 kbit = 1000 bit).
        ping_ms: round trip between edge and cloud, ms.
        others: further fields by name, e.g. `power_w`; those without a value are absent.
        at_s: time of the snapshot, seconds since the epoch.
        source: name of the source of each field.
        age_s: age of each field's value at `at_s`, seconds.
        missing: for each field without a value, the reason.
        pause_s: how long the link to the cloud usually is idle between two exchanges, or is idle now if that is longer;
            seconds, None before the first exchange.
    """

    clock_mhz: Any = None
    bandwidth_kbps: Any = None
    ping_ms: Any = None
    at_s: float = field(default_factory=time.time)
    source: Mapping[str, str] = field(default_factory=dict)
    age_s: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    pause_s: float | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any], **rest: Any) -> Self:
        """Make an observation of fields by name, whichever they are."""
        others = {name: value for name, value in values.items() if name not in FIELDS}
        return cls(**{name: value for name, value in values.items() if name in FIELDS}, others=others, **rest)

    def value(self, name: str) -> Any:
        """The value of a field by name; None where there is none."""
        return getattr(self, name) if name in FIELDS else self.others.get(name)

    def values(self) -> dict[str, Any]:
        """The measured fields by name; None where there is no value."""
        return {name: getattr(self, name) for name in FIELDS} | dict(self.others)


@dataclass(frozen=True)
class Forecast:
    """Predicted latency and cost of all placements. Arrays have shape (..., P); the leading axes are observations.

    Attributes:
        placements: the P placements, in the order of the last axis.
        edge_s, link_s, cloud_s: predicted parts of the latency, seconds.
        cost_usd: predicted cost of one inference, US dollars.
        uncorrected: the forecast of the predictors alone, if live calibration has corrected this one.
        objectives: further columns that objectives add, by name, e.g. `energy_j`; smaller is better.
        aim: names of the two columns that planners weigh; the first counts where w = 0, the second where w = 1.
        between: on three tiers the parts between link and cloud in their order, `relay` and `second_link`, seconds.
    """

    placements: Placements
    edge_s: Floats
    link_s: Floats
    cloud_s: Floats
    cost_usd: Floats
    uncorrected: Forecast | None = None
    objectives: Mapping[str, Floats] = field(default_factory=dict)
    aim: tuple[str, str] = LATENCY_AND_COST
    between: Mapping[str, Floats] = field(default_factory=dict)

    @cached_property
    def latency_s(self) -> Floats:
        """Predicted end-to-end latency, seconds."""
        seconds = self.edge_s + self.link_s
        for part_s in self.between.values():
            seconds = seconds + part_s
        return seconds + self.cloud_s

    @cached_property
    def away_s(self) -> Floats:
        """Predicted seconds after the head: of all parts but the edge."""
        return sum(self.between.values(), self.link_s) + self.cloud_s

    @property
    def parts(self) -> dict[str, Floats]:
        """The parts of the latency by name, seconds, in the order of a request."""
        return {"edge": self.edge_s, "link": self.link_s, **self.between, "cloud": self.cloud_s}

    def __len__(self) -> int:
        return len(self.placements)

    def column(self, name: str) -> Floats:
        """Return a column by name: `latency_s`, `cost_usd`, or one of `objectives`.

        Raises:
            ForecastError: the forecast has no such column.
        """
        if name in LATENCY_AND_COST:
            values: Floats = getattr(self, name)
            return values
        if name not in self.objectives:
            raise missing_column(name, self.objectives)
        return self.objectives[name]

    def aimed(self) -> Forecast:
        """Return the forecast as planners see it: the columns of `aim` stand for `latency_s` and `cost_usd`."""
        if self.aim == LATENCY_AND_COST:
            return self
        columns = (self.edge_s, self.link_s, self.cloud_s, self.column(self.aim[1]), self.uncorrected)
        return AimedForecast(self.placements, *columns, self.objectives, self.aim, self.between, base=self)

    def at(self, index: int | slice | Ints) -> Forecast:
        """Return the forecast of one of several observations, shape (P,) from (n, P), or of some, (m, P)."""
        parts = (self.edge_s[index], self.link_s[index], self.cloud_s[index], self.cost_usd[index])
        objectives = {name: values[index] for name, values in self.objectives.items()}
        between = {name: values[index] for name, values in self.between.items()}
        return Forecast(self.placements, *parts, None, objectives, self.aim, between)

    def find(self, placement: Placement) -> int | None:
        """Return the row index of a placement, None if it is not in the forecast."""
        return next((row for row in range(len(self)) if self.placements[row] == placement), None)

    def row(self, index: int) -> dict[str, Any]:
        """Return one placement of a forecast for a single observation, as plain numbers."""
        placements = self.placements
        return {
            "cut": int(placements.cut[index]),
            "codec": placements.codec[index],
            "latency_s": float(self.latency_s[index]),
            "cost_usd": float(self.cost_usd[index]),
            **{f"{name}_s": float(values[index]) for name, values in self.parts.items()},
            **({} if placements.onward is None else _second_hop(placements.onward, index)),
            **{name: float(values[index]) for name, values in self.objectives.items()},
        }

    def without(self, index: int) -> Forecast:
        """Return the forecast without one placement, e.g. to pick the second best."""
        return self.only(np.arange(len(self)) != index)

    def only(self, keep: NDArray[np.bool_]) -> Forecast:
        """Return the forecast with only the placements where `keep`, of shape (P,), is true."""
        parts = {name: getattr(self, name)[..., keep] for name in ("edge_s", "link_s", "cloud_s", "cost_usd")}
        objectives = {name: values[..., keep] for name, values in self.objectives.items()}
        between = {name: values[..., keep] for name, values in self.between.items()}
        placements = self.placements.take(np.flatnonzero(keep))
        return Forecast(placements, **parts, objectives=objectives, aim=self.aim, between=between)


def _second_hop(onward: Placements, index: int) -> dict[str, Any]:
    return {"second_cut": int(onward.cut[index]), "second_codec": onward.codec[index]}


@dataclass(frozen=True, kw_only=True)
class AimedForecast(Forecast):
    """A forecast whose `latency_s` and `cost_usd` are the two columns of `aim`, so that every planner weighs those.

    Attributes:
        base: the forecast with the columns under their own names; `column` reads there.
    """

    base: Forecast

    @cached_property
    def latency_s(self) -> Floats:
        """The first column of `aim`, in its own unit."""
        return self.base.column(self.aim[0])

    def column(self, name: str) -> Floats:
        """Return a column of the base by name."""
        return self.base.column(name)

    def aimed(self) -> Forecast:
        """Return itself."""
        return self

    def row(self, index: int) -> dict[str, Any]:
        """Return one row of the base."""
        return self.base.row(index)

    def only(self, keep: NDArray[np.bool_]) -> Forecast:
        """Return the view of the base with only some placements."""
        return self.base.only(keep).aimed()


def missing_column(name: str, objectives: Iterable[str]) -> ForecastError:
    """The error for a column that a forecast does not have."""
    known = ", ".join((*LATENCY_AND_COST, *objectives))
    return ForecastError(f"the forecast has no column {name!r}; it has {known} (objective=NAME adds others)")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one inference uses, for cost models that price more than seconds. Numbers, or arrays of shape (..., P).

    Attributes:
        edge_s, link_s, cloud_s: seconds of each part.
        sent_bytes, received_bytes: on the way to the cloud and back, headers included; 0 where nothing is sent.
        cut: `Cut.index`.
        codec: name of the codec; a tuple of P names for a forecast.
        observation: what is observed, e.g. the rate of requests or the cloud's price.
        relay_s, second_link_s: seconds of the parts between link and cloud on three tiers; None on two.
        second_sent_bytes, second_received_bytes: from the relay to the cloud and back.
    """

    edge_s: Any
    link_s: Any
    cloud_s: Any
    sent_bytes: Any
    received_bytes: Any
    cut: Any
    codec: Any
    observation: Observation
    relay_s: Any = None
    second_link_s: Any = None
    second_sent_bytes: Any = 0.0
    second_received_bytes: Any = 0.0


_BETTER = {"latency_s": "faster", "cost_usd": "cheaper"}


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of one planning step.

    Attributes:
        placement: the placement to use from now on.
        index: its row in the forecast; -1 if there was no forecast.
        held: why the planner's choice is not used (fallback or dwell); `""` if it is.
        weight: the planner's w, 0 (fast) to 1 (cheap); None for a planner without a weight.
        observation, forecast: the input of the decision; `forecast` is None for a fallback.
        planning_s: time from observation to choice, seconds.
        limit: the planner's own limit in words, `""` if it has none.
        met: whether the placement meets that limit.
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
        """One line for a log: why the choice was not used, and how many placements are faster or cheaper."""
        if self.forecast is None:
            return self.held
        ranks = []
        for name in self.forecast.aim:
            values = self.forecast.column(name)
            ranks.append(f"{np.count_nonzero(values < values[self.index])} are {_BETTER.get(name, f'lower in {name}')}")
        rank = f"of {len(self.forecast)} placements: {', '.join(ranks)}"
        weighted = "" if self.weight is None else f"at w={self.weight:g} "
        return f"{self._circumstances()}{weighted}{rank}"

    def _circumstances(self) -> str:
        if self.held:
            return f"{self.held}; " if self.met else f"{self.held}; limit not met: {self.limit}; "
        if not self.limit:
            return ""
        return f"with {self.limit}, " if self.met else f"no placement has {self.limit}, this is the nearest; "


class TcpInfo(msgspec.Struct, frozen=True):
    """The kernel's figures of a connection after an exchange (Linux, `TCP_INFO`).

    Attributes:
        min_rtt_s: the shortest round trip of the last minutes, seconds.
        rtt_s: the smoothed round trip, seconds; it grows with the connection's own queue.
        delivery_kbps: the last delivery rate, kbit/s of TCP payload.
        app_limited: whether too little was sent for the rate to show the link's bandwidth.
        retransmits: segments retransmitted since the connection was opened.
    """

    min_rtt_s: float
    rtt_s: float
    delivery_kbps: float
    app_limited: bool
    retransmits: int


class BodyArrival(msgspec.Struct, frozen=True):
    """How the middle of a request's body arrived at a server: after the second piece, until the last but one.

    Attributes:
        size_bytes: of that.
        seconds: from reading the one piece until the other was read, by the server's clock.
    """

    size_bytes: int
    seconds: float


class Transfer(msgspec.Struct, frozen=True):
    """One completed exchange with the cloud, for telemetry sources that measure the link passively.

    Attributes:
        sent_bytes, received_bytes: bytes of the connection, HTTP headers included.
        wall_s: seconds from the first byte written to the last byte read.
        server_s: the part of it spent inside the cloud (decoding, queueing, computing), seconds.
        at_s: when it ended, seconds since the epoch.
        tcp: the kernel's figures; None if there are none.
        fresh: whether the connection was opened for this exchange, so that TCP was in slow start.
        ping_s: telemetry's round trip at that time, seconds, without this connection's own queue; None if unknown.
        arrival: how the request's body arrived at the cloud; None if it came at once, or the cloud does not tell.
    """

    sent_bytes: int
    received_bytes: int
    wall_s: float
    server_s: float
    at_s: float
    tcp: TcpInfo | None = None
    fresh: bool = False
    ping_s: float | None = None
    arrival: BodyArrival | None = None


class RunningExchange(msgspec.Struct, frozen=True):
    """An exchange with the cloud that is under way.

    Attributes:
        began_at_s: when it began, by `time.monotonic()`.
        sent_bytes: how many bytes it sends at most; 0 if that is not known.
    """

    began_at_s: float
    sent_bytes: int = 0


class Encoded(msgspec.Struct, frozen=True):
    """A tensor encoded by a codec.

    Attributes:
        data: the bytes, in one or several pieces, which are sent without being joined. They may be views of the tensor.
        parameters: what decoding needs besides the bytes, e.g. a scale: strings, numbers and bools.
        dim_order: physical order of the dimensions in the bytes, None for the usual one.
    """

    data: Sequence[bytes | bytearray | memoryview]
    parameters: Mapping[str, str | int | float | bool] = msgspec.field(default_factory=dict)
    dim_order: tuple[int, ...] | None = None

    @property
    def size_bytes(self) -> int:
        return sum(memoryview(piece).nbytes for piece in self.data)


class TailRequest(msgspec.Struct, frozen=True):
    """A request that a transport carries to the cloud.

    Attributes:
        model, cut, fingerprint: which tail to run; `fingerprint` is `CutTable.fingerprint`.
        values: the payload, tensors and ints in the order of `Cut.values`.
        request_id: identifies the request in the logs of both sides.
        codec: name of the codec for the tensors.
        timeout_s: deadline of the answer, seconds from now; None leaves it to the transport.
        names: names of the values as in `Cut.values`; empty if they are known by position only.
        reply_limit_bytes: the largest body that the reply may have; None leaves it to the transport.
        onward: where the receiver, a relay, stops and passes the rest on; None has it run all that is left.
        hops: how many relays have passed the request on already.
        input_shapes: shapes of the model's inputs, where the model takes several sizes and these are others than those
            of its cuts; else empty.
    """

    model: str
    cut: int
    fingerprint: str
    values: Sequence[Tensor | int]
    request_id: str
    codec: str = "raw"
    timeout_s: float | None = None
    names: Sequence[str] = ()
    reply_limit_bytes: int | None = None
    onward: Placement | None = None
    hops: int = 0
    input_shapes: tuple[tuple[int, ...], ...] = ()


class TierTimes(msgspec.Struct, frozen=True):
    """Measured seconds of one hop and of the tier behind it, as a relay reports them.

    Attributes:
        link_s: of the exchange, without what was computed beyond it.
        compute_s: of computation there.
        sent_bytes, received_bytes: of the hop's connection.
    """

    link_s: float
    compute_s: float
    sent_bytes: int = 0
    received_bytes: int = 0


class TailReply(msgspec.Struct, frozen=True):
    """The cloud's reply: the output of the tail, and where the time went.

    Attributes:
        values: the model's output values, flat, in the order of the last cut.
        compute_s: seconds of the tail's computation, measured by the cloud.
        server_s: seconds inside the cloud in all: decoding, queueing, computing and encoding.
        sent_bytes, received_bytes: bytes of the connection, HTTP headers included.
        wall_s: seconds from the first byte written to the last byte read, without encoding, decoding and connecting.
        tcp, fresh: as in `Transfer`.
        beyond: the further hops that a relay used, in order; empty where it, or a cloud, ran all that was left.
        fallback: why a relay finished the tail itself though it was to pass it on; `""` if it did not.
        arrival: as in `Transfer`.
        stand_in: PyTorch computed it in place of a runtime that was not ready yet: later requests take another time.
    """

    values: Sequence[Tensor | int]
    compute_s: float
    server_s: float
    sent_bytes: int
    received_bytes: int
    wall_s: float
    tcp: TcpInfo | None = None
    fresh: bool = False
    beyond: tuple[TierTimes, ...] = ()
    fallback: str = ""
    arrival: BodyArrival | None = None
    stand_in: bool = False

    @property
    def beyond_s(self) -> float:
        """Seconds of the further hops and tiers."""
        return sum(times.link_s + times.compute_s for times in self.beyond)


class Probe(msgspec.Struct, frozen=True):
    """What a model answers to a fixed input, shortened to a few numbers.

    Attributes:
        inputs: hash of the input; probes of other inputs cannot be compared.
        outputs: for each output tensor its standard deviation, mean, share of elements that are not finite, and random
            projections of the deviations from the mean.
    """

    inputs: str
    outputs: tuple[tuple[float, ...], ...]


class UpstreamModel(msgspec.Struct, frozen=True):
    """A model as a relay's upstream has it.

    Attributes:
        legal: the cuts at which the relay can pass a request on; empty while it can at none.
        codecs: names of the codecs for that hop.
        why: why it cannot pass requests on, or only at fewer cuts; `""` if nothing is amiss.
    """

    legal: tuple[int, ...] = ()
    codecs: tuple[str, ...] = ()
    why: str = ""


class HeldModel(msgspec.Struct, frozen=True):
    """A model as a cloud lists it.

    Attributes:
        fingerprint: `CutTable.fingerprint` of the model in the cloud.
        legal: the cuts at which the cloud accepts requests.
        codecs: names of the codecs that the cloud accepts; None if it does not list them.
        stages: those of them that it also accepts in any chain; none for an older cloud.
        probe: what the model in the cloud answers to a fixed input; None if the cloud does not say.
        pictures: format -> digest of what its decoder and preprocessing make of reference pictures; empty if it takes
            no pictures.
        upstream: the model at the upstream of a relay; None for a cloud that is none, or older.
        tiers: ids of the processes behind the listing, its own first, then those of its upstream.
        executor: what runs tails in the cloud, `Executor.identity`; empty if the cloud does not say.
        versions: others of that name with other fingerprints.
        software: versions of what runs in the cloud; empty for an older cloud.
    """

    fingerprint: str
    legal: tuple[int, ...]
    codecs: tuple[str, ...] | None = None
    probe: Probe | None = None
    pictures: Mapping[str, str] = msgspec.field(default_factory=dict)
    upstream: UpstreamModel | None = None
    tiers: tuple[str, ...] = ()
    executor: str = ""
    stages: tuple[str, ...] = ()
    versions: tuple[HeldModel, ...] = ()
    software: str = ""

    def version(self, fingerprint: str) -> HeldModel:
        """The one with a fingerprint; this one where there is none."""
        return next((held for held in self.versions if held.fingerprint == fingerprint), self)


class InferenceResult(msgspec.Struct, frozen=True):
    """One answered inference request.

    Attributes:
        request_id: identifies the request in the logs of both sides.
        output: the same output as the uncut model's.
        cut: the cut at which the request started.
        finished_by: `cloud`, `relay` on three tiers, or `edge` if nothing was sent or the cloud failed.
        fallback: why the edge, or the relay, finished the inference in place of the cloud; `""` if it did not.
        edge_s, cloud_s: measured seconds of computation.
        link_s: measured seconds of the exchange with the cloud, less the cloud's computation: encoding and decoding on
            both sides, connecting, transfer, queueing in the cloud; all of the attempt if it failed; 0 if nothing was
            sent. If nothing queues at the edge, this is `latency_s` less both computations, as in section 4.1 of the
            paper.
        latency_s: measured seconds of the whole request. It exceeds the sum of the parts by the time that the request
            waited for the edge's compute thread.
        cost_usd: the cost model applied to the measured times, US dollars.
        sent_bytes: bytes sent to the cloud, HTTP headers included.
        predicted: the forecast for this placement (`Forecast.row`), empty if the decision was a fallback.
        codec: name of the codec that was chosen for its tensors; `raw` if nothing was sent.
        server_s: the part of the exchange spent inside the cloud (decoding, queueing, computing, encoding), seconds.
        between: on three tiers the measured seconds of `relay` and `second_link`, by name; empty on two.
        onward: where the relay was to stop; None where it was to run all that is left.
        stand_in: names of the parts that PyTorch computed in place of a runtime that was not ready yet: their times are
            not those of later requests.
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
    between: Mapping[str, float] = {}
    onward: Placement | None = None
    stand_in: tuple[str, ...] = ()

    @property
    def placement(self) -> Placement:
        """Where and how the request began."""
        return Placement(self.cut, self.codec, self.onward)

    @property
    def parts(self) -> dict[str, float]:
        """The measured parts of the latency by name, seconds, in the order of the request."""
        return {"edge": self.edge_s, "link": self.link_s, **self.between, "cloud": self.cloud_s}


@dataclass(frozen=True)
class Traceable:
    """A network as a module that can be exported: its outputs are the values of all cuts, each once.

    Attributes:
        module: takes the network's inputs and returns a tuple of tensors, one for each of `names`. No output shares
            memory with another value that is written to later.
        example: inputs of batch size 1.
        names: of the outputs.
        at: cut -> name of each value that crosses it, in the order of `Cut.values`; None for a value that is not an
            output of the module: a tensor in a form of its own. A number is a tensor of int64 without dimensions.
        orders: name -> order of the dimensions in memory, where it is not the usual one, as `midcut.tensors.dim_order`
            gives it. Nodes may rely on it, as a view does.
    """

    module: torch.nn.Module
    example: tuple[torch.Tensor, ...]
    names: tuple[str, ...]
    at: tuple[tuple[str | None, ...], ...]
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadedModel:
    """The network that a model component loads, with its example input, preprocessing and labels.

    Attributes:
        name: name of the model, the same on both sides.
        module: the network in eval mode, on the CPU; None of an exported model.
        example: positional inputs of batch size 1 that the module accepts.
        preprocess: converts an image, in any mode of Pillow, to one input of batch size 1; `midcut.pictures.as_shown`
            makes it grey or RGB without showing what transparency hides.
        labels: class names by index, empty if unknown.
        note: one line on the origin of the weights, shown at start.
        answer: makes an edge's answer of the outputs by name, as `midcut.protocols.Task.answer`; None leaves that to
            the task that is configured.
        exported: in place of the module, a folder that `midcut export` wrote; an `ExportedFolder`.
        ranges: for each input the sizes that it may have beside those of the example; empty if there are no others.
    """

    name: str
    module: torch.nn.Module
    example: tuple[Tensor, ...]
    preprocess: Callable[[Image.Image], Tensor]
    labels: Sequence[str] = ()
    note: str = ""
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    exported: Any = None
    ranges: Sequence[ShapeRange] = ()


@dataclass(frozen=True)
class Frame:
    """One frame of an input.

    Attributes:
        image: as it is shown; loading it raises OSError where `data` is damaged.
        source: name of the input, without a password.
        at_s: when it was taken or arrived, seconds since the epoch.
        number: counts the frames of the input from 0, those that were not taken included.
        data: the file of a picture, where the frame came as one: it may be sent as it came, and `image` need not be
            decoded yet; None where it did not.
    """

    image: Image.Image
    source: str
    at_s: float
    number: int
    data: bytes | None = None
