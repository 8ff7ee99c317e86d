"""What codecs did to a model's payloads on a user's pictures: bytes, seconds, and agreement at each cut.

Measured by `midcut profile agreement=FOLDER` and stored in the profile of the edge; used by forecasts and by
`accuracy_floor`. Importing this imports no torch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from omegaconf import OmegaConf

from midcut.component import Kind
from midcut.config.build import build_each
from midcut.errors import FileError
from midcut.planning.assembly import offer_codecs
from midcut.profiles.profile import find_profile
from midcut.terms import Role

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.profiles.profile import Coding
    from midcut.protocols import Codec
    from midcut.types import CutTable, Encoded, Tensor, ValueSpec

# Agreement on some pictures does not make a codec exact.
_NOT_EXACT: Final = 1.0 - 2.0**-20
_ESTIMATES: Final = ("_target_", "agreement", "ratio", "mb_per_s")


class ProfiledCodec:
    """A codec whose sizes, seconds and agreement at each cut were measured on pictures.

    Args:
        codec: the codec.
        coding: what was measured of it.
        accuracy_floor: the least agreement at a cut; None asks for none.

    Attributes:
        agreement: the best at any cut, below 1 unless the codec is exact.
    """

    def __init__(self, codec: Codec, coding: Coding, accuracy_floor: float | None) -> None:
        self.name = codec.name
        self.agreement = codec.agreement
        if codec.agreement != 1.0:
            self.agreement = min(max(coding.agreement.values(), default=0.0), _NOT_EXACT)
        self._codec, self._coding, self._floor = codec, coding, accuracy_floor

    def usable_at(self, cut: int) -> bool:
        """Whether the codec agrees often enough at a cut; not where it was not measured."""
        if self._floor is None or self._codec.agreement == 1.0:
            return True
        return min(self._coding.agreement.get(cut, 0.0), _NOT_EXACT) >= self._floor

    def encode(self, value: Tensor) -> Encoded:
        return self._codec.encode(value)

    def decode(self, encoded: Encoded, spec: ValueSpec) -> Tensor:
        return self._codec.decode(encoded, spec)

    def encoded_bytes(self, spec: ValueSpec) -> int:
        measured = self._coding.value_bytes.get(spec.name)
        return self._codec.encoded_bytes(spec) if measured is None else round(measured)

    def codec_s(self, spec: ValueSpec) -> float:
        measured = self._coding.value_s.get(spec.name)
        return self._codec.codec_s(spec) if measured is None else measured


def build_measured_codecs(config: DictConfig, table: CutTable) -> dict[str, Codec]:
    """Build the codecs of the group `codec` that satisfy `accuracy_floor`, with what the edge's profile has of them.

    Args:
        config: has the groups `codec`, `accuracy_floor` and `edge_profile`.
        table: the model's cuts.

    Raises:
        ConfigError: none is left.
    """
    codings = _codings(config, table)
    codecs: dict[str, Codec] = {}
    for name, codec in build_each(Kind.CODEC, config.codec).items():
        coding = codings.get((name, settings_text(config.codec[name])))
        codecs[name] = codec if coding is None else ProfiledCodec(codec, coding, config.accuracy_floor)
    return offer_codecs(codecs, config.accuracy_floor)


def settings_text(node: Any) -> str:
    """The settings of a codec that change what it sends, as one line: others have other measurements."""
    return json.dumps(_without_estimates(OmegaConf.to_container(node, resolve=True)), sort_keys=True, default=str)


def _without_estimates(settings: Any) -> Any:
    """The settings of a codec, or of each stage of a chain, but for those that only forecasts read."""
    if not isinstance(settings, dict):
        return settings
    return {name: _without_estimates(value) for name, value in settings.items() if name not in _ESTIMATES}


def _codings(config: DictConfig, table: CutTable) -> dict[tuple[str, str], Coding]:
    try:
        profile = find_profile(config.edge_profile, Role.edge, table.model)
    except FileError:  # a predictor that needs one will say so
        return {}
    if profile.table.graph != table.graph:
        return {}
    return {(coding.codec, coding.settings): coding for coding in profile.codings or ()}
