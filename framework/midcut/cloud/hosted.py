"""The models a cloud holds: which request means which of them, and what it may ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midcut import wire
from midcut.errors import FingerprintError, MalformedError, TooLargeError, UnknownModelError
from midcut.graph.joining import Joining

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from midcut.graph import Partition
    from midcut.types import CutTable


class HostedModels:
    """Finds models and reads requests for their tails. Keeps nothing between two of them.

    Args:
        partitions: by model name.
        max_batch: largest batch in one request.

    Attributes:
        joinings: model -> how its requests are computed together; empty until `learn_to_join`.
    """

    def __init__(self, partitions: Mapping[str, Partition], max_batch: int = 1) -> None:
        self._partitions = dict(partitions)
        self.max_batch = max_batch
        self.body_limit_bytes = wire.body_limit((one.table for one in self._partitions.values()), max_batch)
        self.joinings: dict[str, Joining] = {}

    @property
    def names(self) -> list[str]:
        return list(self._partitions)

    def listing(self) -> list[dict[str, Any]]:
        """What GET /v1/models says of each model."""
        return [
            {
                "name": name,
                "fingerprint": one.table.fingerprint,
                "cuts": len(one.table.cuts),
                "legal": list(one.legal),
                "refused": {str(cut): why for cut, why in one.refused.items()},
                "nodes": one.node_count,
            }
            for name, one in self._partitions.items()
        ]

    def warm_up(self) -> None:
        """Run every model once, so that the first request is not the slowest."""
        for one in self._partitions.values():
            one.warm_up()

    def learn_to_join(self) -> None:
        """Find out at which cuts requests can be computed together; each model runs three times."""
        self.joinings.update({name: Joining(one) for name, one in self._partitions.items()})

    def find(self, model: str, cut: int, fingerprint: str | None) -> Partition:
        """The model that a request means.

        Args:
            fingerprint: what the asker takes it for; None where they do not say.

        Raises:
            UnknownModelError: no such model here.
            FingerprintError: it is another one under the same name.
            MalformedError: the cut is not offered.
        """
        partition = self._partitions.get(model)
        if partition is None:
            raise UnknownModelError(f"no model {model!r} here; there are: {', '.join(self._partitions)}")
        expected = partition.table.fingerprint
        if fingerprint is not None and fingerprint != expected:
            raise FingerprintError(
                f"model {model!r} is {expected} here, not {fingerprint!r}: other weights, graph or cuts"
            )
        if cut not in partition.legal:
            raise MalformedError(
                f"cut {cut} of {model!r} is not offered: "
                f"{len(partition.legal)} cuts from {partition.legal[0]} to {partition.legal[-1]} are"
            )
        return partition

    def read_paper(self, body: bytes | bytearray) -> tuple[wire.InferMessage, Partition, list[torch.Tensor | int]]:
        """Take a body of POST /v1/infer apart.

        Raises:
            WireError: malformed, unknown model, illegal cut, other fingerprint, values that do not fit.
        """
        message = wire.read_request(body)
        partition = self.find(message.model, message.cut, message.fingerprint)
        self._check_batch(partition.table, message)
        values = wire.decode_values(message.values)
        partition.check_values(message.cut, values)
        return message, partition, values

    def _check_batch(self, table: CutTable, message: wire.InferMessage) -> None:
        """Refuse a batch over the limit before anything is decoded: a small payload may grow in the tail."""
        for value, spec in zip(message.values, table.cuts[message.cut].values, strict=False):
            if not isinstance(value, int) and len(value.data) > (spec.payload_bytes * self.max_batch + 2) // 3 * 4:
                raise TooLargeError(
                    f"value {spec.name!r} is over a batch of {self.max_batch}, the most this cloud takes"
                )
