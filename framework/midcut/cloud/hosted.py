"""The models a cloud holds, and one request answered from body to body. Runs on worker threads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from midcut import wire
from midcut.errors import FingerprintError, MalformedError, TooLargeError, UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from midcut.graph import Partition
    from midcut.protocols import Executor
    from midcut.types import CutTable

_log = structlog.get_logger("midcut.cloud")


class HostedModels:
    """Answers requests for tails. Keeps nothing between two of them.

    Args:
        partitions: by model name.
        executor: runs the tails and times them.
        max_batch: largest batch in one request.
    """

    def __init__(self, partitions: Mapping[str, Partition], executor: Executor, max_batch: int = 1) -> None:
        self._partitions = dict(partitions)
        self._executor = executor
        self._max_batch = max_batch
        self.body_limit_bytes = wire.body_limit((one.table for one in self._partitions.values()), max_batch)

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

    def answer(self, body: bytes | bytearray, started: float) -> bytes:
        """One request body to one reply body.

        Args:
            started: `time.perf_counter()` when the body was complete: waiting for a thread counts as the cloud's.

        Raises:
            WireError: malformed, unknown model, illegal cut, other fingerprint, values that do not fit.
        """
        message = wire.read_request(body)
        partition = self._find(message)
        self._check_batch(partition.table, message)
        values = wire.decode_values(message.values)
        partition.check_values(message.cut, values)
        outputs, compute_s = self._tail(partition, message.cut, values)
        return wire.encode_reply(message.request_id, outputs, compute_s, started)

    def _find(self, message: wire.InferMessage) -> Partition:
        partition = self._partitions.get(message.model)
        if partition is None:
            raise UnknownModelError(f"no model {message.model!r} here; there are: {', '.join(self._partitions)}")
        expected = partition.table.fingerprint
        if message.fingerprint != expected:
            raise FingerprintError(
                f"model {message.model!r} is {expected} here, not {message.fingerprint!r}: other weights, graph or cuts"
            )
        if message.cut not in partition.legal:
            raise MalformedError(
                f"cut {message.cut} of {message.model!r} is not offered: "
                f"{len(partition.legal)} cuts from {partition.legal[0]} to {partition.legal[-1]} are"
            )
        return partition

    def _check_batch(self, table: CutTable, message: wire.InferMessage) -> None:
        """Refuse a batch over the limit before anything is decoded: a small payload may grow in the tail."""
        for value, spec in zip(message.values, table.cuts[message.cut].values, strict=False):
            if not isinstance(value, int) and len(value.data) > (spec.payload_bytes * self._max_batch + 2) // 3 * 4:
                raise TooLargeError(
                    f"value {spec.name!r} is over a batch of {self._max_batch}, the most this cloud takes"
                )

    def _tail(
        self, partition: Partition, cut: int, values: Sequence[torch.Tensor | int]
    ) -> tuple[Sequence[torch.Tensor | int], float]:
        try:
            return self._executor.run(partial(partition.tail, cut, values))
        except Exception as error:  # noqa: BLE001 - ints or indices that fit by type may still be impossible
            reason = " ".join(str(error).split())[:300]
            _log.warning("tail failed", model=partition.table.model, cut=cut, error=reason)
            raise MalformedError(f"the tail from cut {cut} does not run on these values: {reason}") from None
