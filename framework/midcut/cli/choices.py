"""Checks `group=name` on the command line before Hydra does, to say who offers what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from midcut.component import Kind, takes_several
from midcut.config.folders import presets
from midcut.config.registry import registry
from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHOICE = re.compile(r"^\+?(?P<group>[a-z/]+)(?:@[^=]*)?=(?P<value>.*)$")
_NAME = re.compile(r"^[A-Za-z_]\w*$")


def check(arguments: Sequence[str]) -> None:
    """Refuse a component name that neither a plugin nor a preset has.

    Only plain names are looked at; interpolations, sweeps by function and quoted text go to Hydra.

    Raises:
        ConfigError: null, where a list is chosen.
        UnknownComponentError: one line: what was asked, what there is, which distribution offers it.
    """
    for argument in arguments:
        match = _CHOICE.match(argument)
        kind = Kind.of_group(match["group"]) if match else None
        if match is None or kind is None:
            continue
        if takes_several(match["group"]) and match["value"].strip() == "null":
            raise ConfigError(f"{match['group']}=null: several can be chosen here; for none write {match['group']}=[]")
        for name in (word.strip() for word in match["value"].strip("[]").split(",")):
            if _NAME.match(name) and name != "null" and (kind, name) not in registry().offers:
                known = presets(match["group"])
                if name not in known:
                    raise registry().unknown(kind, name, tuple(known))
