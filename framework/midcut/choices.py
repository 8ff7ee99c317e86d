"""Checks `group=name` on the command line before Hydra does, to say who offers what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from midcut.component import Kind
from midcut.composition import conf_dir
from midcut.plugins import registry

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHOICE = re.compile(r"^\+?(?P<group>[a-z/]+)(?:@[^=]*)?=(?P<value>.*)$")
_NAME = re.compile(r"^[A-Za-z_]\w*$")


def check(arguments: Sequence[str]) -> None:
    """Refuse a component name that neither a plugin nor a preset has.

    Only plain names are looked at; interpolations, sweeps by function and quoted text go to Hydra.

    Raises:
        UnknownComponentError: one line: what was asked, what there is, which distribution offers it.
    """
    kinds = {kind.value: kind for kind in Kind}
    for argument in arguments:
        match = _CHOICE.match(argument)
        if match is None or match["group"] not in kinds:
            continue
        kind = kinds[match["group"]]
        for name in (word.strip() for word in match["value"].strip("[]").split(",")):
            if _NAME.match(name) and name != "null" and (kind, name) not in registry().offers:
                presets = _presets(kind)
                if name not in presets:
                    raise registry().unknown(kind, name, presets)


def _presets(kind: Kind) -> tuple[str, ...]:
    """Names of YAML presets for a kind, in midcut's own conf and in plugins' folders."""
    from hydra._internal.config_repository import ConfigRepository  # noqa: PLC0415 - slow, and only on the way to an error
    from hydra._internal.utils import create_config_search_path  # noqa: PLC0415
    from hydra.core.object_type import ObjectType  # noqa: PLC0415

    repository = ConfigRepository(create_config_search_path(str(conf_dir())))
    known = set(repository.get_group_options(kind.value, ObjectType.CONFIG)) - set(registry().names(kind))
    return tuple(sorted(known))
