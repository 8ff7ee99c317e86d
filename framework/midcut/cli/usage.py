"""What `midcut VERB --help` and completion know: groups, choices and knobs, without composing a config.

Composing takes Hydra half a second; `--cfg job` does it. This reads the verb's primary config for its
groups, asks the registry for the choices, and the typed configs for the knobs.
"""

from __future__ import annotations

import dataclasses
import re
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from midcut.component import STRATEGY, Kind, takes_several
from midcut.config import settings
from midcut.config.folders import conf_dir, presets
from midcut.config.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WIDTH = 118
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def verb_usage(verb: str, summary: str) -> str:
    """The text for one verb."""
    chosen = dict(_groups(verb))
    return "\n".join(
        (
            f"midcut {verb}: {summary}",
            "",
            f"usage: midcut {verb} [group=name ...] [knob=value ...]   -m sweeps, --cfg job shows the outcome",
            "",
            "Groups, choose with group=name (the first is the default):",
            *(_wrapped(f"  {group:<15} ", _choices(group, default)) for group, default in chosen.items()),
            "",
            "Knobs, set with knob=value:",
            *(_line(*knob) for knob in _knobs(settings.SCHEMAS[verb], "")),
            "",
            "Knobs of the groups' defaults (another choice has its own):",
            *(_line(*knob) for group, default in chosen.items() for knob in _component_knobs(group, default)),
            "",
        )
    )


def completions(verb: str, words: list[str]) -> list[str]:
    """What the last word may become: groups, their choices, knobs with their defaults.

    Args:
        verb: what stands before them.
        words: as typed so far, the last one unfinished (`""` where it is not begun). Choices among the
            earlier ones decide which knobs there are.
    """
    *typed, last = words
    chosen = dict(_groups(verb))
    picked = (word.partition("=") for word in typed)
    picks = {group: value.strip("[]").split(",") for group, _, value in picked if group in chosen}
    knobs = [*_knobs(settings.SCHEMAS[verb], "")]
    for group, default in (chosen | picks).items():
        knobs += _component_knobs(group, default)
    key, equals, _ = last.partition("=")
    if not equals:
        return [f"{name}=" for name in (*chosen, *(name for name, _, _ in knobs)) if name.startswith(last)]
    values = _choices(key, chosen[key]) if key in chosen else [value for name, value, _ in knobs if name == key]
    return [f"{key}={value}" for value in values if f"{key}={value}".startswith(last)]


def _groups(verb: str) -> Iterator[tuple[str, Any]]:
    entries = yaml.safe_load((conf_dir() / f"{verb}.yaml").read_text(encoding="utf-8"))["defaults"]
    for entry in entries:
        if isinstance(entry, dict):
            ((group, default),) = entry.items()
            if not group.startswith("override "):
                yield group, default


def _choices(group: str, default: Any) -> list[str]:
    kind = Kind.of_group(group)
    names = sorted({*presets(group.partition("@")[0]), *(registry().names(kind) if kind else [])})
    first = ["null" if name is None else str(name) for name in _listed(default)]
    return first + [name for name in names if name not in first]


def _component_knobs(group: str, default: Any) -> Iterator[tuple[str, str, str]]:
    kind = Kind.of_group(group)
    folder, _, elsewhere = group.partition("@")
    package = elsewhere or folder.replace("/", ".")
    for name in _listed(default):
        offer = registry().offers.get((kind, name)) if kind else None
        preset = conf_dir() / folder / f"{name}.yaml"
        if offer:
            yield from _knobs(offer.component.config, f"{package}.{name}." if takes_several(folder) else f"{package}.")
        elif preset.is_file():
            yield from _preset_knobs(group, package, yaml.safe_load(preset.read_text(encoding="utf-8")))


def _preset_knobs(group: str, package: str, content: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Knobs of what a preset chooses, or of the core's own schema that it fills in."""
    for entry in content["defaults"]:
        if isinstance(entry, str):
            yield from _component_knobs(group, entry)
            continue
        ((what, name),) = entry.items()
        if what.startswith(_SCHEMA):
            here = what.removeprefix(_SCHEMA)
            values = content if here == "_here_" else content.get(here) or {}
            yield from _knobs(_SCHEMAS[name], f"{package}.", values)


def _listed(default: Any) -> list[Any]:
    return default if isinstance(default, list) else [default]


def _knobs(config: Any, prefix: str, preset: Mapping[str, Any] = _NOTHING) -> Iterator[tuple[str, str, str]]:
    """Name, default (the preset's where it has one) and meaning of every field.

    Nested settings are walked, groups are not.
    """
    made = config if not isinstance(config, type) else None
    bases = reversed((config if made is None else type(config)).__mro__)
    told = {name: text for base in bases for name, text in _told(base.__doc__ or "").items()}
    for field in dataclasses.fields(config):
        value = getattr(made, field.name) if made is not None else _default(field)
        if dataclasses.is_dataclass(value):
            yield from _knobs(value, f"{prefix}{field.name}.", preset.get(field.name) or {})
        elif prefix or field.name not in _GROUP_FIELDS:
            yield f"{prefix}{field.name}", _text(preset.get(field.name, value)), told.get(field.name, "")


def _line(name: str, default: str, meaning: str) -> str:
    knob = f"{name}={default}"
    return _wrapped(f"  {knob:<40} ", meaning.split(), "")


def _told(doc: str) -> dict[str, str]:
    """What a docstring's `Attributes:` say of each name."""
    told: dict[str, str] = {}
    names: list[str] = []
    for line in doc.partition("Attributes:")[2].splitlines():
        head = _ATTRIBUTE.match(line)
        if head:
            names = [name.strip() for name in head[1].split(",")]
        for name in names if line.strip() else []:
            told[name] = f"{told.get(name, '')} {head[2] if head else line.strip()}".strip()
    return told


_ATTRIBUTE = re.compile(r"^ {4,8}(\w+(?:, \w+)*): (.*)$")
_GROUP_FIELDS = frozenset(kind.value.partition("/")[0] for kind in Kind) | {"input", STRATEGY, "scenario", "truth"}
_SCHEMA = "/schema@"
_SCHEMAS = {name: schema for _, name, schema in settings.NODES}


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _text(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.name)
    if isinstance(value, bool):
        return str(value).lower()
    return {None: "null", "": "''"}.get(value, str(value)) if not isinstance(value, list | dict) else str(value)


def _wrapped(head: str, words: list[str], separator: str = ",") -> str:
    indent = " " * (18 if separator else 43)
    lines, line = [], head
    for position, word in enumerate(words):
        if len(line) + len(word) > _WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += word + (f"{separator} " if position < len(words) - 1 else "")
    return "\n".join([*lines, line.rstrip()])
