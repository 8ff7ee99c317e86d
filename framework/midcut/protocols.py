"""The protocols of all kinds of components: the methods and attributes through which midcut uses them.

A component's target is called with its config's fields as keyword arguments (and with the additional ones that are
stated below for its kind), and returns an object that has the methods of the protocol. No base class is needed.
`midcut.testing` has a contract suite for each protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from midcut.types import (
        CutTable,
        Encoded,
        Floats,
        Forecast,
        Frame,
        HeldModel,
        InferenceResult,
        Ints,
        LoadedModel,
        Observation,
        Placement,
        RunningExchange,
        TailReply,
        TailRequest,
        Tensor,
        Traceable,
        Transfer,
        Usage,
        ValueSpec,
    )


class Model(Protocol):
    """Loads a network. The target gets the additional keyword `name`, the component's, unless it has such a setting."""

    def load(self) -> LoadedModel:
        """Make the network. Two processes must get the same weights, so random ones need a fixed seed.

        Raises:
            GraphError: the model cannot be made; the message says what is missing.
        """
        ...


class TelemetrySource(Protocol):
    """Measures one or more fields of an `Observation`."""

    interval_s: float
    """Seconds between two reads.

    A source may also have these attributes:
    `max_age_s`: how long its values are valid, seconds, if that is less than `engine.max_age_s`.
    `quiet = True`: it measures the link, so it is read only while no exchange with the cloud is under way.
    `standby = True`: after its first read it is read only while the sources before it do not give its fields.
    It may also be a `TransferListener` or an `AgeingSource`.
    """

    def read(self) -> Mapping[str, float]:
        """Measure now. It may block: it is called on a thread of its own, and never twice at the same time.

        Returns:
            any of `clock_mhz`, `bandwidth_kbps`, `ping_ms`, finite and not negative; empty if there is no new value.

        Raises:
            TelemetryError: the measurement failed. It is logged once, until a read succeeds again.
        """
        ...

    def close(self) -> None:
        """Release resources. Called once, after the last read."""
        ...


@runtime_checkable
class TransferListener(Protocol):
    """A telemetry source that also measures the requests themselves."""

    def transferred(self, transfer: Transfer) -> None:
        """Record one exchange with the cloud. Must not block."""
        ...


@runtime_checkable
class AgeingSource(Protocol):
    """A telemetry source whose values change between two reads, as estimates do."""

    def present(self, running: Sequence[RunningExchange]) -> Mapping[str, float]:
        """What the values of the last read are by now. Must not block; called from any thread.

        Args:
            running: the exchanges with the cloud under way.

        Returns:
            the fields whose values have changed; their age stays that of the last read.
        """
        ...


class LatencyPredictor(Protocol):
    """Predicts one part of the latency (edge, link or cloud) of every placement.

    The target gets the additional keyword `placements: Placements`. The object may have an attribute `based_on: str`:
    one line on the source of its numbers, e.g. the profile used.
    """

    needs: frozenset[str]
    """The fields of an observation that it reads, e.g. `frozenset({"clock_mhz"})`."""

    def seconds(self, observation: Observation) -> Floats:
        """Predict this part of the latency.

        Args:
            observation: its fields are numbers, or arrays that broadcast together to shape (...).

        Returns:
            seconds, shape (..., P) for P placements, finite and not negative. A predictor that needs no field may
            return shape (P,).

        Raises:
            ForecastError: a field it needs is missing, or is not a number it can use.
        """
        ...


class CostModel(Protocol):
    """Prices one inference."""

    def cost_usd(self, edge_s: Any, link_s: Any, cloud_s: Any) -> Any:
        """Return the price of one inference.

        Args:
            edge_s, link_s, cloud_s: seconds of computation at the edge, of transfer, and of computation in the cloud;
                numbers or arrays that broadcast together.

        Returns:
            US dollars, in the broadcast shape. Not negative, and never lower when one of the parts is larger.
        """
        ...


@runtime_checkable
class TieredCostModel(Protocol):
    """A cost model that also has a price for a relay. It has `cost_usd`, too.

    Without `relay_usd`, a relay's seconds are priced as the cloud's, and the second link's as the link's.
    """

    def relay_usd(self, relay_s: Any, second_link_s: Any) -> Any:
        """Return what the relay and the second link add to the price of one inference, US dollars.

        Args:
            relay_s, second_link_s: seconds of computation at the relay, and of transfer between relay and cloud.
        """
        ...


@runtime_checkable
class BillingCostModel(Protocol):
    """A cost model that also prices bytes, requests, or time that is not busy. It has `cost_usd`, too."""

    needs: frozenset[str]
    """The fields of an observation that it reads."""

    def request_usd(self, usage: Usage) -> Any:
        """Return the price of one inference, US dollars, in the broadcast shape; otherwise as `CostModel.cost_usd`.

        Raises:
            ForecastError: a field it needs is missing, or is not a number it can use.
        """
        ...


class Objective(Protocol):
    """Adds one column to a forecast: another quantity beside latency and cost of which less is better.

    The target gets the additional keyword `placements: Placements`.
    """

    column: str
    """Name of the column, with its unit, e.g. `energy_j`."""

    needs: frozenset[str]
    """The fields of an observation that it reads."""

    def values(self, forecast: Forecast, observation: Observation) -> Floats:
        """Compute the column.

        Args:
            forecast: parts, latency and cost of the placements, corrected by live calibration; shape (..., P).
            observation: what they were predicted from.

        Returns:
            shape (..., P) or (P,), finite and not negative, never lower where a part of the latency is larger.

        Raises:
            ForecastError: a field it needs is missing, or is not a number it can use.
        """
        ...


class Planner(Protocol):
    """Picks one placement of a forecast."""

    @property
    def w(self) -> float | None:
        """The configured weight, 0 (fast) to 1 (cheap); None for a planner without a weight. An attribute will do."""
        ...

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """Pick a row for every observation and weight.

        Args:
            forecast: arrays of shape (..., P). Weigh its `latency_s` and `cost_usd`: where the user aims at other
                objectives, those two are the chosen columns, and `Forecast.column` has all under their own names.
            w: a number, or an array that broadcasts with the forecast's leading shape (...). A planner without a weight
                checks it, and picks the same for all values.

        Returns:
            row indices, in the broadcast shape of (...) and of w. The pick must not be dominated. With a weight, it is
            a fastest placement at w = 0 and a cheapest one at w = 1.

        Raises:
            ForecastError: w is outside [0, 1], the forecast has NaN, infinite or negative values, or no placement
                (`midcut.planning.check_weight` and `check_forecast` check all of this).
        """
        ...


@runtime_checkable
class LimitedPlanner(Protocol):
    """A planner with a limit on latency or cost. If no placement meets the limit, it picks the nearest one."""

    limit: str
    """The limit in words, e.g. `latency at most 0.15 s`."""

    def meets(self, forecast: Forecast, picks: Ints) -> NDArray[np.bool_]:
        """Return which picks meet the limit.

        Args:
            forecast: arrays of shape (..., P).
            picks: row indices as `choose` returns them; their shape broadcasts with (...).

        Returns:
            booleans in the broadcast shape. If a pick of `choose` does not meet the limit, no placement does.
        """
        ...


@runtime_checkable
class Learner(Protocol):
    """A predictor, cost model, objective or planner that also learns from every answered request."""

    def answered(self, placement: Placement, observation: Observation, result: InferenceResult) -> None:
        """Take one answered request in. Called on the event loop after the answer: it must not block.

        Args:
            placement: where and how the request began.
            observation: what the placement was planned on.
            result: measured times, cost, and who finished it. One that the cloud did not finish has a `fallback`, or
                ran at the edge alone. The parts in `stand_in` will not take their times again.
        """
        ...


class Transport(Protocol):
    """Carries a payload to the cloud, where the tail of the network runs, and its output back.

    The target gets the additional keyword `codecs: Mapping[str, Codec]`: the codecs that `TailRequest.codec` names.
    """

    async def open(self) -> None:
        """Get ready for requests. Must succeed also while the cloud is down."""
        ...

    async def infer(self, request: TailRequest) -> TailReply:
        """Run the tail in the cloud.

        Raises:
            CloudError: the cloud is unreachable, too slow, refuses, or gives no valid answer. The edge then finishes
                the inference itself.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


@runtime_checkable
class ModelLister(Protocol):
    """A transport that can also list the cloud's models, so that the edge plans with the cuts that both sides offer."""

    async def listing(self) -> Mapping[str, HeldModel]:
        """Ask the cloud for its models, and return them by name. Called while the transport is open.

        Raises:
            CloudError: as for `infer`.
        """
        ...


@runtime_checkable
class ProfileSource(Protocol):
    """A transport that can also fetch the cloud's own profile of a model, so that the edge plans with its seconds."""

    async def profile(self, model: str, tier: int = 0) -> bytes:
        """Ask for the profile, which the cloud may have to measure first. Called while the transport is open.

        Args:
            model: its name.
            tier: 1 asks a relay for its upstream's profile.

        Returns:
            the content of a profile file, as `midcut profile role=cloud` writes one; unchecked.

        Raises:
            CloudError: as for `infer`.
        """
        ...


class Codec(Protocol):
    """Encodes tensors as bytes, and decodes them. The target gets the additional keyword `name`, the component's.

    Several threads use it at once, on both sides, so it must not change state in a call.

    It may have an attribute `stage`, for chains such as `codec=int8-zstd`: `"first"` (as without the attribute) stands
    at the start only, since it encodes tensors; `"bytes"` may stand anywhere behind, and takes tensors of dtype uint8
    and shape (n,); `"entropy"` does so at the end only, since it leaves nothing to save; None is in no chain.
    """

    name: str

    agreement: float | None
    """Share of inputs that get the same class as without the codec: 1.0 if it is lossless, None if not measured."""

    def encode(self, value: Tensor) -> Encoded:
        """Encode a tensor, which must not be changed.

        Raises:
            MalformedError: it does not take this dtype, or these values; the tensor is then sent uncoded.
        """
        ...

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        """Decode a tensor into new memory.

        Args:
            encoded: untrusted input from the network.
            spec: dtype and shape that the tensor must have. Sizes must be checked against it before memory is taken.

        Raises:
            MalformedError: `encode` does not make this for such a tensor.
        """
        ...

    def encoded_bytes(self, spec: ValueSpec) -> int:
        """Return how many bytes `encode` makes of such a tensor; an estimate if that depends on the values.

        Raises:
            MalformedError: it does not take this dtype.
        """
        ...

    def codec_s(self, spec: ValueSpec) -> float:
        """Return an estimate for forecasts of the seconds that encoding and decoding take together.

        Encoding takes longer at a slower clock of the edge, for which a codec may also have: an attribute `clock_mhz`,
        the clock at which its seconds hold (absent or None: they are not scaled), and a method `encode_s(spec)`, the
        part of them at the edge (absent: all of them).
        """
        ...


class Network(Protocol):
    """A captured model as an executor sees it: a list of nodes that can be run from any cut to any later one."""

    table: CutTable
    """Nodes and cuts; `fingerprint` is equal for equal graphs and weights."""

    @property
    def example(self) -> tuple[Tensor, ...]:
        """Valid inputs of batch size 1."""
        ...

    def run(self, start: int, stop: int, values: Sequence[Any]) -> tuple[Any, ...]:
        """Run the nodes from one cut to another in PyTorch.

        Args:
            start, stop: cuts, `start` not after `stop`.
            values: those that cross `start`, in the order of its `Cut.values`; never written to.

        Returns:
            the values that cross `stop`.
        """
        ...

    def traceable(self) -> Traceable:
        """Return a module that can be exported, and gives the values of all cuts at once.

        Raises:
            GraphError: the network cannot be exported from here; the message says why.
        """
        ...


@runtime_checkable
class PicturedNetwork(Protocol):
    """A network whose model takes pictures."""

    pictures: Callable[[str, int, str], list[tuple[Tensor, ...]]] | None
    """Reads the model's inputs from at most that many pictures of a folder; the last argument is the setting that
    names the folder. None where the preprocessing is not known. It raises ConfigError or FileError, each one line: no
    such folder, under ten pictures, noise, a model of several inputs, a picture that cannot be read."""


@runtime_checkable
class WeightedNetwork(Protocol):
    """A network whose weights lie in PyTorch's memory."""

    weights: Sequence[torch.Tensor]
    """Its parameters and buffers, which nobody writes to: an executor may use them instead of a copy."""


class Segment(Protocol):
    """Consecutive nodes of a network, ready to run. Several threads may use it at once."""

    def run(self, values: Sequence[Any]) -> tuple[Sequence[Any], float]:
        """Run the nodes to their end, on the calling thread. An exception is not caught.

        Args:
            values: those that cross the segment's first cut; never written to.

        Returns:
            the values that cross its last cut, and the seconds it took.
        """
        ...


class Executor(Protocol):
    """Makes segments of a network ready on this device. Several threads may use it at once.

    It may have the attribute `fused = True`: it merges nodes, so that profiles measure heads and tails, not nodes. With
    `exact = True`, a cut whose head it refuses is run as the whole model, whose bits it promises. `conditions` is text:
    what its speed depends on besides its identity, such as threads; measured seconds are kept by both. It may have a
    method `drop(network)`, which releases what it holds of a network that a cloud has unloaded.
    """

    @property
    def identity(self) -> str:
        """Everything that speed and last bits of its results depend on: runtime, version, precision. One line."""
        ...

    def prepare(self, network: Network, start: int, stop: int) -> Segment:
        """Return the segment between two cuts. This may take long the first time, and is quick where it is ready.

        The first call for a network may come with the whole of it (cut 0 to the last), before requests are served.

        Raises:
            ExecutorError: it cannot run this segment; the caller runs it in PyTorch instead.
        """
        ...

    def ready(self, network: Network, start: int, stop: int) -> bool:
        """Return whether `prepare` is quick for this segment. Called for each request."""
        ...

    def close(self) -> None:
        """Release resources."""
        ...


class Task(Protocol):
    """Says what a model's output means: what an edge answers to an image.

    The target gets the additional keyword `class_names: Sequence[str]`, the model's labels, empty if unknown. Several
    threads may use it at once.
    """

    def answer(self, outputs: Mapping[str, Tensor | int | float]) -> Mapping[str, Any]:
        """Return the answer as fields of JSON.

        Args:
            outputs: the model's outputs for one image by the model's own names: keys of a dict, fields of a dataclass,
                `output_0`, `output_1` of a tuple, else `output`; nested names are joined by dots.

        Returns:
            strings, numbers, bools, None, lists and dicts. `class` and `label` are compared with expected labels.

        Raises:
            ConfigError: the outputs are not those of such a task. It is also called at start, with zeros.
        """
        ...


class Input(Protocol):
    """Frames for an edge to classify, one after the other: a camera, a video."""

    endless: bool
    """Whether it is a stream or a device, which is opened again when it ends or fails."""

    live: bool
    """Whether frames come at their own time, so that one that cannot be taken at once is dropped and counted."""

    concurrency: int
    """Frames in work at once."""

    limit: int | None
    """Stop after that many answers; None never stops, or at the end."""

    plot: bool
    """Whether to draw the stream at its end."""

    source: str
    """Its name in results: a path or a URL, without a password."""

    def check(self) -> None:
        """Find mistakes before the model is loaded.

        Raises:
            ConfigError: what it needs is not installed.
            FileError: it cannot be opened.
        """
        ...

    def frames(self) -> Iterator[Frame]:
        """Open it and yield its frames. May block: it runs on a thread of its own.

        Raises:
            FileError: it cannot be opened or read.
        """
        ...


class Output(Protocol):
    """A place for results, besides the answer or the file of a stream."""

    def write(self, result: Mapping[str, Any]) -> None:
        """Write one result. May block or raise anything: it is called on a thread of its own, one call at a time.

        Args:
            result: JSON fields: `model`, `class`, `label`, `probability`, `source`, `at_s` (of the frame or request,
                seconds since the epoch), `latency_s`, `cost_usd`, `cut`, `finished_by`, `request_id`.
        """
        ...

    def close(self) -> None:
        """Release resources. Called once, after the last result."""
        ...
