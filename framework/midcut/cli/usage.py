"""Lists the groups, components and settings of a verb, for `midcut VERB --help` and for shell completion.

Hydra would take half a second to compose the config (`--cfg job` does). Instead, groups are read from the verb's
primary config, components from the registry, and settings from the typed configs.
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
    from collections.abc import Iterator, Mapping, Sequence

_WIDTH = 118
_EMPTY: Mapping[str, Any] = MappingProxyType({})


def verb_usage(verb: str, summary: str, words: Sequence[str] = ()) -> str:
    """The text of `midcut VERB --help`, with the settings of the components that `words` choose."""
    defaults = dict(_groups_with_defaults(verb))
    chosen = defaults | _choices(words, defaults)
    return "\n".join(
        (
            f"midcut {verb}: {summary}",
            "",
            f"usage: midcut {verb} [group=name ...] [setting=value ...]   -m sweeps, --cfg job shows the config",
            "",
            "Groups. Choose a component with group=name; the default is listed first:",
            *(_wrapped(f"  {group:<15} ", _component_names(group, default)) for group, default in defaults.items()),
            "",
            "Settings, given as setting=value:",
            *(_setting_text(*setting) for setting in _settings_of(settings.SCHEMAS[verb], "")),
            "",
            "Settings of these components (others have other settings: midcut VERB group=name --help):",
            *(
                _setting_text(*setting)
                for group, names in chosen.items()
                for setting in _component_settings(group, names)
            ),
            "",
        )
    )


def completions(verb: str, words: list[str]) -> list[str]:
    """What the last word can be completed to: groups, their components, settings with their defaults.

    Args:
        verb: the word before `words`.
        words: typed so far; the last one is unfinished, or `""`. Components chosen by the earlier words determine
            which settings there are.
    """
    *finished, last = words
    defaults = dict(_groups_with_defaults(verb))
    found = [*_settings_of(settings.SCHEMAS[verb], "")]
    for group, default in (defaults | _choices(finished, defaults)).items():
        found += _component_settings(group, default)
    key, equals, _ = last.partition("=")
    if not equals:
        return [f"{name}=" for name in (*defaults, *(name for name, _, _ in found)) if name.startswith(last)]
    values = (
        _component_names(key, defaults[key]) if key in defaults else [value for name, value, _ in found if name == key]
    )
    return [f"{key}={value}" for value in values if f"{key}={value}".startswith(last)]


def _choices(words: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, list[str]]:
    """Group -> the components that the words choose."""
    overrides = (word.partition("=") for word in words)
    return {group: value.strip("[]").split(",") for group, _, value in overrides if group in defaults}


def _groups_with_defaults(verb: str) -> Iterator[tuple[str, Any]]:
    entries = yaml.safe_load((conf_dir() / f"{verb}.yaml").read_text(encoding="utf-8"))["defaults"]
    for entry in entries:
        if isinstance(entry, dict):
            ((group, default),) = entry.items()
            if not group.startswith("override "):
                yield group, default


def _component_names(group: str, default: Any) -> list[str]:
    """Components and presets of a group, the default ones first."""
    kind = Kind.of_group(group)
    names = sorted({*presets(group.partition("@")[0]), *(registry().names(kind) if kind else [])})
    first = ["null" if name is None else str(name) for name in _as_list(default)]
    return first + [name for name in names if name not in first]


def _component_settings(group: str, default: Any) -> Iterator[tuple[str, str, str]]:
    kind = Kind.of_group(group)
    folder, _, given_package = group.partition("@")
    package = given_package or folder.replace("/", ".")
    for name in _as_list(default):
        offer = registry().offers.get((kind, name)) if kind else None
        preset = conf_dir() / folder / f"{name}.yaml"
        if offer:
            yield from _settings_of(
                offer.component.config, f"{package}.{name}." if takes_several(folder) else f"{package}."
            )
        elif preset.is_file():
            yield from _preset_settings(group, package, yaml.safe_load(preset.read_text(encoding="utf-8")))


def _preset_settings(group: str, package: str, content: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Settings of the components that a preset chooses, or of the core's schema that it fills in."""
    for entry in content["defaults"]:
        if isinstance(entry, str):
            yield from _component_settings(group, entry)
            continue
        ((target, name),) = entry.items()
        if target.startswith(_SCHEMA):
            place = target.removeprefix(_SCHEMA)
            values = content if place == "_here_" else content.get(place) or {}
            yield from _settings_of(_SCHEMAS[name], f"{package}.", values)


def _as_list(default: Any) -> list[Any]:
    return default if isinstance(default, list) else [default]


def _settings_of(config: Any, prefix: str, preset: Mapping[str, Any] = _EMPTY) -> Iterator[tuple[str, str, str]]:
    """Name, default (from the preset where it sets one) and description of every field, including nested ones.

    Groups are left out, as they are listed separately.
    """
    instance = config if not isinstance(config, type) else None
    bases = reversed((config if instance is None else type(config)).__mro__)
    descriptions = {name: text for base in bases for name, text in _attribute_texts(base.__doc__ or "").items()}
    for field in dataclasses.fields(config):
        value = getattr(instance, field.name) if instance is not None else _default_of(field)
        if dataclasses.is_dataclass(value):
            yield from _settings_of(value, f"{prefix}{field.name}.", preset.get(field.name) or {})
        elif prefix or field.name not in _GROUP_FIELDS:
            yield f"{prefix}{field.name}", _value_text(preset.get(field.name, value)), descriptions.get(field.name, "")


def _setting_text(name: str, default: str, description: str) -> str:
    setting = f"{name}={default}"
    return _wrapped(f"  {setting:<40} ", description.split(), "")


def _attribute_texts(doc: str) -> dict[str, str]:
    """Name -> description, from the section `Attributes:` of a docstring."""
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in doc.partition("Attributes:")[2].splitlines():
        match = _ATTRIBUTE.match(line)
        if match:
            names = [name.strip() for name in match[1].split(",")]
        for name in names if line.strip() else []:
            texts[name] = f"{texts.get(name, '')} {match[2] if match else line.strip()}".strip()
    return texts


_ATTRIBUTE = re.compile(r"^ {4,8}(\w+(?:, \w+)*): (.*)$")
_GROUP_FIELDS = frozenset(kind.value.partition("/")[0] for kind in Kind) | {"input", STRATEGY, "scenario", "truth"}
_SCHEMA = "/schema@"
_SCHEMAS = {name: schema for _, name, schema in settings.NODES}


def _default_of(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _value_text(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.name)
    if isinstance(value, bool):
        return str(value).lower()
    return {None: "null", "": "''"}.get(value, str(value)) if not isinstance(value, list | dict) else str(value)


def _wrapped(prefix: str, words: list[str], separator: str = ",") -> str:
    """The words after a prefix, wrapped to several lines with a hanging indent."""
    indent = " " * (18 if separator else 43)
    lines, line = [], prefix
    for position, word in enumerate(words):
        if len(line) + len(word) > _WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += word + (f"{separator} " if position < len(words) - 1 else "")
    return "\n".join([*lines, line.rstrip()])
