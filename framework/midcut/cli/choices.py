"""Checks `group=name` on the command line before Hydra does, for a message that lists the components on offer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from midcut.component import Kind, takes_several
from midcut.config.chains import check_chain
from midcut.config.folders import presets
from midcut.config.registry import registry
from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHOICE = re.compile(r"^\+?(?P<group>[a-z/]+)(?:@[^=]*)?=(?P<value>.*)$")
_NAME = re.compile(r"^[A-Za-z_]\w*$")


def check_choices(arguments: Sequence[str]) -> None:
    """Refuse a name that is neither a component nor a preset.

    Only plain names are checked; interpolations, sweep functions and quoted text are left to Hydra.

    Raises:
        ConfigError: null for a group that is a list.
        UnknownComponentError: an unknown name; the message lists the known ones by distribution.
    """
    for argument in arguments:
        match = _CHOICE.match(argument)
        kind = Kind.of_group(match["group"]) if match else None
        if match is None or kind is None:
            continue
        if takes_several(match["group"]) and match["value"].strip() == "null":
            raise ConfigError(
                f"{match['group']}=null: this group is a list; for no component write {match['group']}=[]"
            )
        for name in (word.strip() for word in match["value"].strip("[]").split(",")):
            if kind is Kind.CODEC:
                check_chain(name)
            if _NAME.match(name) and name != "null" and (kind, name) not in registry().offers:
                known = presets(match["group"])
                if name not in known:
                    raise registry().unknown(kind, name, tuple(known))
