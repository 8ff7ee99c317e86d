"""One model with one set of weights, as a cloud holds it."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Self

from midcut.errors import UnknownModelError
from midcut.serving.reference_pictures import PictureInputs

if TYPE_CHECKING:
    import torch

    from midcut.graph import Partition
    from midcut.graph.batcher import Batcher
    from midcut.types import CutTable, LoadedModel


def weights_bytes(module: torch.nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


class HostedVersion:
    """A model that requests may refer to by its name and fingerprint. `with` and `finish` are for one event loop.

    Args:
        partition: the model, cut into nodes, with its weights.
        model: the same model as loaded, only for decoding pictures; None: requests with pictures are refused.

    Attributes:
        batcher: stacks requests; None where each is computed by itself.
        weights_bytes: of parameters and buffers; 0 without `model`.
    """

    def __init__(self, partition: Partition, model: LoadedModel | None = None) -> None:
        self.partition = partition
        self.weights_bytes = 0 if model is None else weights_bytes(model.module)
        self.pictures = None if model is None else PictureInputs(model)
        self.batcher: Batcher | None = None
        self._requests = 0
        self._idle = asyncio.Event()
        self._removed = False

    @property
    def name(self) -> str:
        return self.partition.table.model

    @property
    def key(self) -> tuple[str, str]:
        """Name and fingerprint."""
        return self.partition.table.key

    @property
    def fingerprint(self) -> str:
        return self.partition.table.fingerprint

    @cached_property
    def end_tables(self) -> list[CutTable]:
        """The cuts as the example and as the largest inputs have them."""
        return self.partition.end_tables()

    @property
    def digests(self) -> dict[str, str]:
        """Format -> digest of what is made of reference pictures; empty if it takes none."""
        return {} if self.pictures is None else self.pictures.digests

    def __enter__(self) -> Self:
        """Hold the model while a request is computed.

        Raises:
            UnknownModelError: it has been removed since the request was read.
        """
        if self._removed:
            raise UnknownModelError(f"{self.fingerprint} of model {self.name!r} was unloaded")
        self._requests += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._requests -= 1
        if self._removed and not self._requests:
            self._idle.set()

    async def finish(self) -> None:
        """Accept no further request, and wait for those that run."""
        self._removed = True
        if self._requests:
            await self._idle.wait()
