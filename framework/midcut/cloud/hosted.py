"""The models of a cloud: finds the one that a request refers to and decodes the request for it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from midcut import wire
from midcut.chains import is_chain, role
from midcut.cloud.version import HostedVersion
from midcut.errors import FingerprintError, MalformedError, TooLargeError, UnknownModelError
from midcut.graph.batcher import Batcher
from midcut.serving import ModelRef, unknown_version
from midcut.serving.images import decode_batch
from midcut.wire import oip, oip_read, oip_tensors
from midcut.wire.version import software

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch

    from midcut.graph import Partition
    from midcut.graph.segments import Segments
    from midcut.graph.sizes import Shapes
    from midcut.protocols import Codec
    from midcut.serving.images import PixelBudget
    from midcut.types import CutTable, LoadedModel


class HostedModels:
    """Finds models and decodes requests for their tails. Keeps nothing of a request.

    A name may stand for several versions, which differ in their fingerprints: a request that states its fingerprint
    gets that one, any other the newest.

    Args:
        partitions: model name -> the model with its legal cuts.
        max_batch: largest batch in one request.
        codecs: those that requests may use, by name; `raw` needs no codec.
        models: preprocess pictures, by name; pictures for other models are refused.
        picture_limit_bytes: the largest body with pictures.

    Attributes:
        own_id: names this cloud in lists of models, so that a relay notices that its upstream is itself.
        batchers: name and fingerprint -> what joins requests into batches; empty until `learn_to_batch` is called.
    """

    def __init__(
        self,
        partitions: Mapping[str, Partition],
        max_batch: int = 1,
        codecs: Mapping[str, Codec] | None = None,
        models: Mapping[str, LoadedModel] | None = None,
        picture_limit_bytes: int = 0,
    ) -> None:
        self.own_id = os.urandom(8).hex()
        self._codecs = dict(codecs or {})
        self._picture_limit_bytes = picture_limit_bytes if models else 0
        self.max_batch = max_batch
        self.batchers: dict[tuple[str, str], Batcher] = {}
        self._executor = ""
        # Name -> fingerprint -> version. Inner dicts are replaced, never changed: threads that decode read them.
        self._versions: dict[str, dict[str, HostedVersion]] = {}
        self.body_limit_bytes = 0
        self.has_sizes = False
        for name, parts in partitions.items():
            self.add(HostedVersion(parts, (models or {}).get(name)))

    def add(self, version: HostedVersion) -> None:
        """Hold a version; it is the newest one of its name."""
        held = self._versions.get(version.name, {})
        others = {key: other for key, other in held.items() if key != version.fingerprint}
        self._versions[version.name] = others | {version.fingerprint: version}
        if version.batcher is not None:
            self.batchers[version.key] = version.batcher
        self._note_held()

    def remove(self, name: str, fingerprint: str) -> HostedVersion:
        """Hold a version no longer: no request finds it from now on."""
        left = dict(self._versions[name])
        version = left.pop(fingerprint)
        if left:
            self._versions[name] = left
        else:
            del self._versions[name]
        self.batchers.pop(version.key, None)
        self._note_held()
        return version

    def _note_held(self) -> None:
        self.has_sizes = any(version.partition.sizes is not None for version in self.versions())
        tables = [table for version in self.versions() for table in version.end_tables]
        if tables:
            self.body_limit_bytes = max(
                wire.body_limit(tables, self.max_batch),
                oip_tensors.json_limit(tables, self.max_batch),
                self._picture_limit_bytes,
            )

    @property
    def _names_text(self) -> str:
        return ", ".join(self._versions) or "none"

    @property
    def names(self) -> list[str]:
        return list(self._versions)

    @property
    def partitions(self) -> dict[str, Partition]:
        """The newest version of each model, by name."""
        return {name: _newest(held).partition for name, held in self._versions.items()}

    def versions(self) -> Iterator[HostedVersion]:
        """All versions that are held; of each name the newest comes last."""
        return (version for held in self._versions.values() for version in list(held.values()))

    def listing(self) -> list[dict[str, Any]]:
        """The entries of GET /v1/models: the newest version of each, which lists the others of its name."""
        entries = []
        for name, held in self._versions.items():
            *others, newest = [self._entry(name, version) for version in held.values()]
            entries.append(newest | ({"versions": others} if others else {}))
        return entries

    def _entry(self, name: str, version: HostedVersion) -> dict[str, Any]:
        partition, digests = version.partition, version.digests
        return {
            "name": name,
            "fingerprint": version.fingerprint,
            "cuts": len(partition.table.cuts),
            "legal": list(partition.legal),
            "refused": {str(cut): why for cut, why in partition.refused.items()},
            "nodes": partition.node_count,
            "codecs": wire.codec_names([*self._codecs, *([oip.FILE] if digests else [])]),
            "stages": [name for name, codec in self._codecs.items() if not is_chain(name) and role(codec)],
            "probe": partition.probe,
            "executor": self._executor,
            "software": software(),
        } | ({"pictures": digests} if digests else {})

    def warm_up(self, segments: Segments) -> None:
        """Run every model, so that the first request is not the slowest and the probes are known."""
        for version in self.versions():
            self.prepare(version, segments)

    def prepare(self, version: HostedVersion, segments: Segments) -> None:
        """Run a model, so that its first request is not the slowest and its probe is known."""
        partition = version.partition
        partition.warm_up()
        partition.probe  # noqa: B018 - computed here, by a thread that may take its time
        version.digests  # noqa: B018 - likewise
        version.end_tables  # noqa: B018 - likewise
        segments.prepare(partition, 0, partition.table.last)
        self._executor = segments.identity

    def learn_to_batch(self) -> None:
        """Find out at which cuts several requests can be computed as one batch. Runs each model three times."""
        for version in self.versions():
            version.batcher = self.batchers[version.key] = Batcher(version.partition)

    def partition_of(self, model: str, fingerprint: str | None = None) -> Partition:
        """The model of that name; the newest version if no fingerprint is stated.

        Raises:
            UnknownModelError: this cloud has no such model.
            FingerprintError: no version of it has the fingerprint.
        """
        return self._version(model, fingerprint).partition

    def version_of(self, partition: Partition) -> HostedVersion:
        """The version that a request was decoded for.

        Raises:
            UnknownModelError: it has been unloaded since.
        """
        return self._version(*partition.table.key)

    def _version(self, model: str, fingerprint: str | None) -> HostedVersion:
        version = self._version_or_none(model, fingerprint)
        if version is not None:
            return version
        if model not in self._versions:
            raise UnknownModelError(f"no model {model[:200]!r} here; there are: {self._names_text}")
        raise FingerprintError(
            f"model {model!r} is {' and '.join(self._versions[model])} here, not {str(fingerprint)[:80]!r}: "
            "other weights, graph or cuts"
        )

    def _version_or_none(self, model: str, fingerprint: str | None) -> HostedVersion | None:
        held = self._versions.get(model)
        return None if held is None else _newest(held) if fingerprint is None else held.get(fingerprint)

    def partition_at_cut(self, model: str, cut: int, fingerprint: str | None) -> Partition:
        """The model of that name, if the cut is on offer.

        Args:
            fingerprint: the fingerprint that the client expects; None where it does not state one.

        Raises:
            UnknownModelError: this cloud has no such model.
            FingerprintError: this cloud's model of that name has another fingerprint.
            MalformedError: the cut is not offered.
        """
        partition = self.partition_of(model, fingerprint)
        if cut not in partition.legal:
            raise MalformedError(
                f"cut {cut} of {model!r} is not offered: "
                f"{len(partition.legal)} cuts from {partition.legal[0]} to {partition.legal[-1]} are"
            )
        return partition

    def resolve_path(self, name: str, version: str | None = None) -> ModelRef:
        """The model that a name in a path refers to; with `@13` at the end, that model from cut 13 on.

        Args:
            version: the fingerprint in the path; None refers to the newest version.

        Raises:
            UnknownModelError: there is no such model here, or no such version or cut of it.
        """
        model, cut = name, None
        if name not in self._versions:
            model, _, digits = name.rpartition("@")
            cut = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 9 else -1
        held, found = self._versions.get(model, {}), self._version_or_none(model, version)
        if held and found is None:
            raise unknown_version(str(version), name, held)
        if found is None or (cut is not None and cut not in found.partition.legal):
            raise UnknownModelError(
                f"no model {name[:200]!r} here; there are: {self._names_text}, "
                "and NAME@CUT for each cut that is offered"
            )
        return ModelRef(found.partition.table, cut, self.max_batch > 1, version, tuple(held))

    def size_to_make(self, model_ref: ModelRef, call: oip_read.InferCall) -> Callable[[], object] | None:
        """A function to call before a request for other sizes can be read; None where nothing has to be made.

        Raises:
            WireError: no cut on offer, another fingerprint, or sizes that the model does not take.
        """
        if not self.has_sizes:
            return None
        cut = model_ref.cut or call.cut or 0
        fingerprint = _fingerprint(model_ref, call)
        partition = self.partition_of(model_ref.table.model, fingerprint)
        if partition.sizes is None:
            return None
        self.partition_at_cut(model_ref.table.model, cut, fingerprint)
        shapes = self._input_shapes(partition, call, cut)
        found = partition.for_shapes(shapes)
        if found is partition:
            return None
        self._check_samples(shapes)
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
        partition = self.partition_at_cut(model_ref.table.model, cut, _fingerprint(model_ref, call))
        partition = partition.make_for_shapes(self._input_shapes(partition, call, cut))
        where = f"cut {cut} of model {model_ref.table.model!r}"
        table = partition.table
        oip_tensors.check_outputs(call, table)
        self.reply_codec(call)  # an unknown codec is refused here, before anything is computed
        max_batch = 1 if partition.resized else self.max_batch
        values = oip_tensors.request_values(call, table.cuts[cut].values, self._codecs, max_batch, where)
        partition.check_values(cut, values)
        return partition, cut, values

    def picture_files(self, model_ref: ModelRef, call: oip_read.InferCall) -> list[bytes | memoryview] | None:
        """The files of pictures that are a request's inputs; None if these are tensors.

        Raises:
            WireError: inputs that cannot be pictures.
        """
        table = model_ref.table
        return oip_tensors.picture_files(call, table.cuts[0].values, self.max_batch, f"model {table.model!r}")

    async def read_pictures(
        self, model_ref: ModelRef, call: oip_read.InferCall, files: Sequence[bytes | memoryview], budget: PixelBudget
    ) -> tuple[Partition, int, list[torch.Tensor | int]]:
        """Decode a request whose inputs are picture files: its model, cut and values.

        Raises:
            WireError: other fingerprint, no picture, one over the budget, or one that the model cannot use.
        """
        table = model_ref.table
        where = f"model {table.model!r}"
        if model_ref.cut:
            raise MalformedError(f"{where}: BYTES is a picture for the whole model, not for cut {model_ref.cut}")
        partition = self.partition_at_cut(table.model, 0, _fingerprint(model_ref, call))
        if (pictures := self.version_of(partition).pictures) is None:
            raise MalformedError(f"{where} takes tensors here, no pictures")
        oip_tensors.check_outputs(call, table)
        self.reply_codec(call)
        values: list[torch.Tensor | int] = [await decode_batch(pictures.model, files, budget)]
        partition.check_values(0, values)
        return partition, 0, values

    def reply_codec(self, call: oip_read.InferCall) -> Codec | None:
        """The codec in which a request wants its reply; None for `raw`, which is meant if it names none.

        Raises:
            MalformedError: it names one that is not on offer.
        """
        return oip_tensors.find_codec(call.reply_codec, self._codecs)

    def read_paper_request(
        self, body: bytes | bytearray
    ) -> tuple[wire.InferMessage, Partition, list[torch.Tensor | int]]:
        """Decode a body of POST /v1/infer, the paper's request format, into its message, the model and the tensors.

        Raises:
            WireError: malformed, unknown model, illegal cut, other fingerprint, or values that do not match the cut.
        """
        message = wire.read_request(body)
        partition = self.partition_at_cut(message.model, message.cut, message.fingerprint)
        shapes = message.input_shapes
        if not shapes and not message.cut:
            shapes = tuple(() if isinstance(value, int) else value.shape for value in message.values)
        if partition.sizes is not None and partition.for_shapes(shapes) is not partition:
            self._check_samples(shapes)
        partition = partition.make_for_shapes(shapes)
        self._check_batch(partition.table, message)
        values = wire.decode_values(message.values)
        partition.check_values(message.cut, values)
        return message, partition, values

    def _check_samples(self, shapes: Shapes) -> None:
        """Refuse a batch over the limit before the model is run at its size."""
        if shapes[0][0] > self.max_batch:
            raise self._too_large(f"{shapes[0][0]} samples are")

    def _check_batch(self, table: CutTable, message: wire.InferMessage) -> None:
        """Refuse a batch over the limit before it is decoded, as values may become larger in the tail."""
        for value, spec in zip(message.values, table.cuts[message.cut].values, strict=False):
            if not isinstance(value, int) and len(value.data) > (spec.payload_bytes * self.max_batch + 2) // 3 * 4:
                raise self._too_large(f"value {spec.name!r} is")

    def _too_large(self, what_is: str) -> TooLargeError:
        return TooLargeError(f"{what_is} over a batch of {self.max_batch}, the largest accepted here")


def _fingerprint(model_ref: ModelRef, call: oip_read.InferCall) -> str | None:
    """The version that a request refers to, by its path or its parameter; None for the newest one."""
    if model_ref.version is not None and call.fingerprint not in (None, model_ref.version):
        raise FingerprintError(f"the path says version {model_ref.version}, parameter fingerprint says another")
    return model_ref.version if call.fingerprint is None else call.fingerprint


def _newest(held: dict[str, HostedVersion]) -> HostedVersion:
    return held[next(reversed(held))]
