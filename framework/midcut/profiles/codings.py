"""What codecs did to a model's payloads on a user's pictures: bytes, seconds, and agreement at each cut.

Measured by `midcut profile agreement=FOLDER` and stored in the profile of the edge; used by forecasts and by
`accuracy_floor`. Importing this imports no torch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import structlog
from omegaconf import OmegaConf

from midcut.component import Kind
from midcut.config.build import build_each
from midcut.errors import FileError
from midcut.planning.assembly import offer_codecs
from midcut.profiles.profile import find_profile
from midcut.terms import Role

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.profiles.profile import Coding, Profile
    from midcut.protocols import Codec
    from midcut.types import CutTable, Encoded, Tensor, ValueSpec

# Agreement on some pictures does not make a codec exact.
_NOT_EXACT: Final = 1.0 - 2.0**-20
_log = structlog.get_logger("midcut.profiles")
_ESTIMATES: Final = ("_target_", "agreement", "ratio", "mb_per_s")


class EstimatedCodec:
    """A codec with the estimates that its settings give.

    Attributes:
        clock_mhz: the edge's clock at which they hold; None if unknown.
    """

    def __init__(self, codec: Codec, clock_mhz: float | None) -> None:
        self.name, self.agreement, self.clock_mhz = codec.name, codec.agreement, clock_mhz
        self._codec = codec

    def encode(self, value: Tensor) -> Encoded:
        return self._codec.encode(value)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        return self._codec.decode(encoded, spec)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        return self._codec.encoded_bytes(spec)

    def codec_s(self, spec: ValueSpec) -> float:
        return self._codec.codec_s(spec)

    def encode_s(self, spec: ValueSpec) -> float:
        """The part of `codec_s` at the edge; all of it if unknown."""
        seconds: float = getattr(self._codec, "encode_s", self._codec.codec_s)(spec)
        return seconds


class ProfiledCodec(EstimatedCodec):
    """A codec whose sizes, seconds and agreement at each cut were measured on pictures.

    Args:
        codec: the codec.
        coding: what was measured of it.
        accuracy_floor: the least agreement at a cut; None asks for none.

    Attributes:
        agreement: the best at any cut, below 1 unless the codec is exact.
    """

    def __init__(self, codec: Codec, coding: Coding, accuracy_floor: float | None) -> None:
        super().__init__(codec, coding.clock_mhz)
        if codec.agreement != 1.0:
            self.agreement = min(max(coding.agreement.values(), default=0.0), _NOT_EXACT)
        self._coding, self._floor = coding, accuracy_floor

    def usable_at(self, cut: int) -> bool:
        """Whether the codec agrees often enough at a cut; not where it was not measured."""
        return self._floor is None or self.agreement_at(cut) >= self._floor

    def agreement_at(self, cut: int) -> float:
        """The agreement at a cut; 0 where it was not measured."""
        if self._codec.agreement == 1.0:
            return 1.0
        return min(self._coding.agreement.get(cut, 0.0), _NOT_EXACT)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        measured = self._coding.value_bytes.get(spec.name)
        return self._codec.encoded_bytes(spec) if measured is None else round(measured)

    def codec_s(self, spec: ValueSpec) -> float:
        measured = self._coding.value_s.get(spec.name)
        return self._codec.codec_s(spec) if measured is None else measured

    def encode_s(self, spec: ValueSpec) -> float:
        measured = self._coding.encode_s.get(spec.name)
        return self.codec_s(spec) if measured is None else measured


def build_measured_codecs(config: DictConfig, table: CutTable) -> dict[str, Codec]:
    """Build the codecs of the group `codec` that satisfy `accuracy_floor`, with what the edge's profile has of them.

    Args:
        config: has the groups `codec`, `accuracy_floor` and `edge_profile`.
        table: the model's cuts.

    Raises:
        ConfigError: none is left.
    """
    profile = _edge_profile(config, table)
    measured = {} if profile is None or not _is_of(profile, table) else _codings(profile)
    fastest_mhz = None if profile is None else profile.runs[-1].clock_mhz
    codecs: dict[str, Codec] = {}
    for name, codec in build_each(Kind.CODEC, config.codec).items():
        coding = measured.get((name, settings_text(config.codec[name])))
        if coding is None:
            codecs[name] = EstimatedCodec(codec, fastest_mhz)
        else:
            codecs[name] = ProfiledCodec(codec, coding, config.accuracy_floor)
    return offer_codecs(codecs, config.accuracy_floor)


def settings_text(node: Any) -> str:
    """The settings of a codec that change what it sends, as one line: others have other measurements."""
    return json.dumps(_without_estimates(OmegaConf.to_container(node, resolve=True)), sort_keys=True, default=str)


def _without_estimates(settings: Any) -> Any:
    """The settings of a codec, or of each stage of a chain, but for those that only forecasts read."""
    if not isinstance(settings, dict):
        return settings
    return {name: _without_estimates(value) for name, value in settings.items() if name not in _ESTIMATES}


def _edge_profile(config: DictConfig, table: CutTable) -> Profile | None:
    try:
        return find_profile(config.edge_profile, Role.edge, table.model)
    except FileError:  # a predictor that needs one will say so
        return None


def _is_of(profile: Profile, table: CutTable) -> bool:
    """Whether the codecs were measured with this graph and these weights: other weights agree otherwise."""
    if profile.table.graph != table.graph:
        return False
    same = profile.table.weights in ("", table.weights)
    if profile.codings and not same:
        _log.warning(
            "codecs count as not measured: the profile's agreement is of other weights",
            model=table.model,
            better=f"midcut profile model={table.model} agreement=FOLDER",
        )
    return same


def _codings(profile: Profile) -> dict[tuple[str, str], Coding]:
    return {(coding.codec, coding.settings): coding for coding in profile.codings or ()}
