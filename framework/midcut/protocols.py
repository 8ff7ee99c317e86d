"""What each kind of component must be able to do. The engine sees these and nothing else.

A component's target is called with its config's fields as keyword arguments (plus what is stated
below for the kind) and returns an object with the methods of the protocol. No base class is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from midcut.types import (
        Encoded,
        Floats,
        Forecast,
        HeldModel,
        Ints,
        LoadedModel,
        Observation,
        TailReply,
        TailRequest,
        Transfer,
        ValueSpec,
    )


class Model(Protocol):
    """A network by name. Its target is called with the keyword `name`, the component's, as well."""

    def load(self) -> LoadedModel:
        """Make the network. Seeded, so that two processes get the same weights.

        Raises:
            GraphError: the model cannot be made; the message says what is missing.
        """
        ...


class TelemetrySource(Protocol):
    """Measures one or more fields of an `Observation`."""

    interval_s: float
    """Seconds between two reads.

    A source may also have attributes:
    `max_age_s`: its values count no longer than that, where this is less than `engine.max_age_s`.
    `quiet = True`: it measures the link, and is read while no exchange of our own is under way.
    `standby = True`: after a first read it is read only while the sources before it do not tell what it would.
    """

    def read(self) -> Mapping[str, float]:
        """Measure now. May block: it runs on a thread of its own, never two reads at once.

        Returns:
            any of `clock_mhz`, `bandwidth_kbps`, `ping_ms`; an empty mapping for "nothing new".

        Raises:
            TelemetryError: it could not be measured; the hub reports that once.
        """
        ...

    def close(self) -> None:
        """Release what it holds. Called once, after the last read."""
        ...


@runtime_checkable
class TransferListener(Protocol):
    """A telemetry source that also learns from the requests themselves."""

    def transferred(self, transfer: Transfer) -> None:
        """Take note of one exchange with the cloud. Must not block."""
        ...


class LatencyPredictor(Protocol):
    """Seconds for every placement. Its target gets the keyword `placements: Placements` as well.

    It may have an attribute `based_on: str`: what its numbers rest on, one line for people.
    """

    needs: frozenset[str]
    """The fields of an observation it reads, e.g. `frozenset({"clock_mhz"})`."""

    def seconds(self, observation: Observation) -> Floats:
        """Predict this part of the latency.

        Args:
            observation: fields are numbers, or arrays that broadcast together to shape (...).

        Returns:
            seconds, shape (..., P), finite and not negative. A predictor that needs no field may
            return shape (P,).
        """
        ...


class CostModel(Protocol):
    """Money for one inference."""

    def cost_usd(self, edge_s: Any, link_s: Any, cloud_s: Any) -> Any:
        """Price busy seconds.

        Args:
            edge_s, link_s, cloud_s: numbers or arrays that broadcast together.

        Returns:
            US dollars, in the broadcast shape; not negative; does not fall when a part grows.
        """
        ...


class Planner(Protocol):
    """Picks one placement."""

    @property
    def w(self) -> float | None:
        """The configured weight, 0 fast to 1 cheap; None where the planner follows no weight. An attribute will do."""
        ...

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:
        """Pick a row for every observation and weight.

        Args:
            forecast: arrays of shape (..., P).
            w: a number, or an array that broadcasts with the forecast's leading shape (...). A planner that
                follows no weight checks it, and picks the same for all.

        Returns:
            row indices, shape broadcast of (...) and w's. The pick is never dominated; where a weight is
            followed, at w = 0 it is a fastest placement and at w = 1 a cheapest one.

        Raises:
            ForecastError: w outside [0, 1], NaN in the forecast, or no placement.
        """
        ...


@runtime_checkable
class LimitedPlanner(Protocol):
    """A planner with a limit of its own. Where no placement keeps it, it picks the nearest one."""

    limit: str
    """The limit in words, e.g. `latency at most 0.15 s`."""

    def meets(self, forecast: Forecast, picks: Ints) -> NDArray[np.bool_]:
        """Say which picks keep the limit.

        Args:
            forecast: arrays of shape (..., P).
            picks: row indices as `choose` returns them: their shape broadcasts with (...).

        Returns:
            in the broadcast shape. Where a pick of `choose` does not keep it, no placement does.
        """
        ...


class Transport(Protocol):
    """Carries a payload to the cloud's tail and its output back.

    Its target is called with the keyword `codecs: Mapping[str, Codec]` as well: those that `TailRequest.codec` names.
    """

    async def open(self) -> None:
        """Get ready. Must not need the cloud to be up."""
        ...

    async def infer(self, request: TailRequest) -> TailReply:
        """Run the tail in the cloud.

        Raises:
            CloudError: unreachable, too slow, refused, or an answer that is none. The edge then
                finishes the inference itself.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class ModelLister(Protocol):
    """A transport that can also say what the cloud holds. The edge plans on the cuts that both sides offer."""

    async def listing(self) -> Mapping[str, HeldModel]:
        """Ask the cloud for its models, by name. Called while the transport is open.

        Raises:
            CloudError: as for `infer`.
        """
        ...


class Codec(Protocol):
    """Tensors as bytes and back. Its target is called with the keyword `name`, the component's, as well.

    Used by several threads at once, on either side: it keeps no state between calls.
    """

    name: str

    agreement: float | None
    """Share of inputs whose class stays what it was, 1.0 for a lossless codec, None where nobody measured it."""

    def encode(self, value: torch.Tensor) -> Encoded:
        """Make bytes of a tensor.

        Raises:
            MalformedError: a dtype, or values, that it does not take; the tensor then travels as it is.
        """
        ...

    def decode(self, encoded: Encoded, spec: ValueSpec) -> torch.Tensor:
        """Make the tensor again, in memory of its own.

        Args:
            encoded: from a stranger. Nothing in it may be believed.
            spec: dtype and shape the tensor must have; sizes are bounded by it before anything is unfolded.

        Raises:
            MalformedError: it is not what `encode` makes for such a tensor.
        """
        ...

    def encoded_bytes(self, spec: ValueSpec) -> int:
        """How many bytes `encode` makes of such a tensor; an estimate where that depends on the values.

        Raises:
            MalformedError: a dtype it does not take.
        """
        ...

    def codec_s(self, spec: ValueSpec) -> float:
        """Seconds that encoding and decoding together take, an estimate for forecasts."""
        ...


class Executor(Protocol):
    """Runs segments on this device and says how long they took."""

    def run(self, segment: Callable[[], Sequence[torch.Tensor | int]]) -> tuple[Sequence[torch.Tensor | int], float]:
        """Run one segment to its end, on the calling thread.

        Returns:
            what the segment returned, and the seconds it took.
        """
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...
