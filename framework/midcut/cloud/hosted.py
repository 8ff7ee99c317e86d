"""The models of a cloud: finds the one that a request refers to and decodes the request for it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from midcut import wire
from midcut.chains import is_chain, role
from midcut.errors import FingerprintError, MalformedError, TooLargeError, UnknownModelError
from midcut.graph.batcher import Batcher
from midcut.serving import ModelRef
from midcut.serving.images import decode_batch
from midcut.serving.reference_pictures import PictureInputs
from midcut.wire import oip, oip_read, oip_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from midcut.graph import Partition
    from midcut.graph.segments import Segments
    from midcut.graph.sizes import Shapes
    from midcut.protocols import Codec
    from midcut.serving.images import PixelBudget
    from midcut.types import CutTable, LoadedModel


class HostedModels:
    """Finds models and decodes requests for their tails. Stateless between requests.

    Args:
        partitions: model name -> the model with its legal cuts.
        max_batch: largest batch in one request.
        codecs: those that requests may use, by name; `raw` needs no codec.
        models: preprocess pictures, by name; pictures for other models are refused.
        picture_limit_bytes: the largest body with pictures.

    Attributes:
        partitions: model name -> the model with its legal cuts.
        own_id: names this cloud in lists of models, so that a relay notices that its upstream is itself.
        batchers: model name -> what joins requests into batches; empty until `learn_to_batch` is called.
    """

    def __init__(
        self,
        partitions: Mapping[str, Partition],
        max_batch: int = 1,
        codecs: Mapping[str, Codec] | None = None,
        models: Mapping[str, LoadedModel] | None = None,
        picture_limit_bytes: int = 0,
    ) -> None:
        self.partitions = dict(partitions)
        self.own_id = os.urandom(8).hex()
        self._codecs = dict(codecs or {})
        self._pictures = {name: PictureInputs(model) for name, model in (models or {}).items()}
        self.max_batch = max_batch
        tables = [table for partition in self.partitions.values() for table in partition.end_tables()]
        self.body_limit_bytes = max(
            wire.body_limit(tables, max_batch),
            oip_tensors.json_limit(tables, max_batch),
            picture_limit_bytes if self._pictures else 0,
        )
        self.batchers: dict[str, Batcher] = {}
        self._executor = ""

    @property
    def names(self) -> list[str]:
        return list(self.partitions)

    def listing(self) -> list[dict[str, Any]]:
        """The entries of GET /v1/models."""
        return [
            {
                "name": name,
                "fingerprint": partition.table.fingerprint,
                "cuts": len(partition.table.cuts),
                "legal": list(partition.legal),
                "refused": {str(cut): why for cut, why in partition.refused.items()},
                "nodes": partition.node_count,
                "codecs": wire.codec_names([*self._codecs, *([oip.FILE] if self._digests(name) else [])]),
                "stages": [stage for stage, codec in self._codecs.items() if not is_chain(stage) and role(codec)],
                "probe": partition.probe,
                "executor": self._executor,
            }
            | ({"pictures": digests} if (digests := self._digests(name)) else {})
            for name, partition in self.partitions.items()
        ]

    def _digests(self, name: str) -> dict[str, str]:
        return self._pictures[name].digests if name in self._pictures else {}

    def warm_up(self, segments: Segments) -> None:
        """Run every model, so that the first request is not the slowest and the probes are known."""
        for partition in self.partitions.values():
            partition.warm_up()
            partition.probe  # noqa: B018 - computed here, by a thread that may take its time
            self._digests(partition.table.model)
            segments.prepare(partition, 0, partition.table.last)
        self._executor = segments.identity

    def learn_to_batch(self) -> None:
        """Find out at which cuts several requests can be computed as one batch. Runs each model three times."""
        self.batchers.update({name: Batcher(partition) for name, partition in self.partitions.items()})

    def partition(self, model: str) -> Partition:
        """The model of that name.

        Raises:
            UnknownModelError: this cloud has no such model.
        """
        partition = self.partitions.get(model)
        if partition is None:
            raise UnknownModelError(f"no model {model[:200]!r} here; there are: {', '.join(self.partitions)}")
        return partition

    def find(self, model: str, cut: int, fingerprint: str | None) -> Partition:
        """The model that a request refers to.

        Args:
            fingerprint: the fingerprint that the client expects; None where it does not state one.

        Raises:
            UnknownModelError: this cloud has no such model.
            FingerprintError: this cloud's model of that name has another fingerprint.
            MalformedError: the cut is not offered.
        """
        partition = self.partition(model)
        expected = partition.table.fingerprint
        if fingerprint is not None and fingerprint != expected:
            raise FingerprintError(
                f"model {model!r} is {expected} here, not {fingerprint[:80]!r}: other weights, graph or cuts"
            )
        if cut not in partition.legal:
            raise MalformedError(
                f"cut {cut} of {model!r} is not offered: "
                f"{len(partition.legal)} cuts from {partition.legal[0]} to {partition.legal[-1]} are"
            )
        return partition

    def resolve(self, name: str) -> ModelRef:
        """The model that a name in a path refers to; with `@13` at the end, that model from cut 13 on.

        Raises:
            UnknownModelError: there is no such model here, or no such cut of it.
        """
        partition, cut = self.partitions.get(name), None
        if partition is None:
            model, _, digits = name.rpartition("@")
            partition = self.partitions.get(model)
            cut = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 9 else -1
            if partition is None or cut not in partition.legal:
                raise UnknownModelError(
                    f"no model {name[:200]!r} here; there are: {', '.join(self.partitions)}, "
                    "and NAME@CUT for each cut that is offered"
                )
        return ModelRef(partition.table, cut, self.max_batch > 1)

    def size_to_make(self, model_ref: ModelRef, call: oip_read.InferCall) -> Callable[[], object] | None:
        """What has to be computed before a request for other sizes can be read; None for nothing.

        Raises:
            WireError: no cut on offer, another fingerprint, or sizes that the model does not take.
        """
        cut = model_ref.cut or call.cut or 0
        partition = self.partition(model_ref.table.model)
        if partition.sizes is None:
            return None
        self.find(model_ref.table.model, cut, call.fingerprint)
        shapes = self._input_shapes(partition, call, cut)
        found = partition.for_shapes(shapes)
        if found is partition:
            return None
        if shapes[0][0] > self.max_batch:
            raise TooLargeError(
                f"{shapes[0][0]} samples are over a batch of {self.max_batch}, the largest accepted here"
            )
        return partial(partition.make_for_shapes, shapes) if found is None else None

    def _input_shapes(self, partition: Partition, call: oip_read.InferCall, cut: int) -> Shapes:
        """The shapes of the model's inputs as a request states them; empty where they are the example's."""
        if partition.sizes is None or call.input_shapes or cut:
            return call.input_shapes
        return oip_tensors.input_shapes(call, partition.table.cuts[0].values, f"model {partition.table.model!r}")

    def read_request(
        self, model_ref: ModelRef, call: oip_read.InferCall
    ) -> tuple[Partition, int, list[torch.Tensor | int]]:
        """Decode a request to POST /v2/models/{model}/infer into model, cut and values.

        Raises:
            WireError: illegal cut, other fingerprint, or values that do not match the cut.
        """
        if model_ref.cut is not None and call.cut not in (None, model_ref.cut):
            raise MalformedError(f"the path says cut {model_ref.cut}, parameter cut says {call.cut}")
        cut = model_ref.cut or call.cut or 0
        partition = self.find(model_ref.table.model, cut, call.fingerprint)
        partition = partition.make_for_shapes(self._input_shapes(partition, call, cut))
        where = f"cut {cut} of model {model_ref.table.model!r}"
        oip_tensors.check_outputs(call, model_ref.table)
        self.reply_codec(call)  # refused before anything is computed
        max_batch = 1 if partition.resized else self.max_batch
        values = oip_tensors.request_values(call, partition.table.cuts[cut].values, self._codecs, max_batch, where)
        partition.check_values(cut, values)
        return partition, cut, values

    async def read_pictures(
        self, model_ref: ModelRef, call: oip_read.InferCall, budget: PixelBudget
    ) -> tuple[Partition, int, list[torch.Tensor | int]] | None:
        """Decode a request whose input is pictures' files into model, cut and values; None if its inputs are tensors.

        Raises:
            WireError: other fingerprint, no picture, one over the budget, or one that the model cannot use.
        """
        table = model_ref.table
        where = f"model {table.model!r}"
        files = oip_tensors.picture_files(call, table.cuts[0].values, self.max_batch, where)
        if files is None:
            return None
        if model_ref.cut:
            raise MalformedError(f"{where}: BYTES is a picture for the whole model, not for cut {model_ref.cut}")
        partition = self.find(table.model, 0, call.fingerprint)
        if (pictures := self._pictures.get(table.model)) is None:
            raise MalformedError(f"{where} takes tensors here, no pictures")
        oip_tensors.check_outputs(call, table)
        self.reply_codec(call)
        values: list[torch.Tensor | int] = [await decode_batch(pictures.model, files, budget)]
        partition.check_values(0, values)
        return partition, 0, values

    def reply_codec(self, call: oip_read.InferCall) -> Codec | None:
        """The codec that a request asks for in its reply; None for none. Raises MalformedError for an unknown one."""
        return oip_tensors.find_codec(call.reply_codec, self._codecs)

    def read_paper_request(
        self, body: bytes | bytearray
    ) -> tuple[wire.InferMessage, Partition, list[torch.Tensor | int]]:
        """Decode a body of POST /v1/infer, the paper's request format, into its message, the model and the tensors.

        Raises:
            WireError: malformed, unknown model, illegal cut, other fingerprint, or values that do not match the cut.
        """
        message = wire.read_request(body)
        partition = self.find(message.model, message.cut, message.fingerprint)
        shapes = message.input_shapes
        if not shapes and not message.cut:
            shapes = tuple(() if isinstance(value, int) else value.shape for value in message.values)
        partition = partition.make_for_shapes(shapes)
        self._check_batch(partition.table, message)
        values = wire.decode_values(message.values)
        partition.check_values(message.cut, values)
        return message, partition, values

    def _check_batch(self, table: CutTable, message: wire.InferMessage) -> None:
        """Refuse a batch over the limit before it is decoded, as values may become larger in the tail."""
        for value, spec in zip(message.values, table.cuts[message.cut].values, strict=False):
            if not isinstance(value, int) and len(value.data) > (spec.payload_bytes * self.max_batch + 2) // 3 * 4:
                raise TooLargeError(
                    f"value {spec.name!r} is over a batch of {self.max_batch}, the largest accepted here"
                )
