"""Finds what a misspelt or misplaced setting on the command line was meant to be."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_UNKNOWN = re.compile(r"^Could not override '(?P<key>[^']+)'")
_MOST = 3
# Hydra's flags that take the next word as their value.
_WITH_VALUE = frozenset(
    [
        "--cfg",
        "-c",
        "--package",
        "-p",
        "--config-path",
        "-cp",
        "--config-name",
        "-cn",
        "--config-dir",
        "-cd",
        "--info",
        "-i",
        "--experimental-rerun",
    ]
)


def check_form(verb: str, arguments: Sequence[str]) -> None:
    """Refuse a word that is no setting, such as `model vgg16` or `--model=vgg16`.

    Raises:
        ConfigError: the message has the word as it should be.
    """
    words = list(arguments)
    for position, word in enumerate(words):
        before = words[position - 1] if position else ""
        if before in _WITH_VALUE:
            continue
        if word.startswith("--") and "=" in word and word.partition("=")[0] not in _WITH_VALUE:
            raise ConfigError(f"{word}: settings have no dashes in front: {word.lstrip('-')}")
        if word.startswith(("-", "~")) or "=" in word:
            continue
        after = words[position + 1] if position + 1 < len(words) else ""
        value = after if after and "=" not in after and not after.startswith("-") else "..."
        example = f"{word}={value}" if _is_key(verb, word) else "model=vgg16"
        shown = f"{word} {after}" if value == after else word
        raise ConfigError(f"{shown!r} is no setting; settings are written NAME=VALUE: {example}")


def better_key(verb: str, arguments: Sequence[str], message: str) -> str:
    """For the error of an unknown key the settings whose names end alike; `""` for another error or none such."""
    match = _UNKNOWN.match(message)
    if match is None:
        return ""
    key = match["key"]
    value = next((word.partition("=")[2] for word in arguments if word.lstrip("+").startswith(f"{key}=")), "...")
    names = _keys(verb, arguments)
    if "." not in key:  # where an edge's input is its server, that of a stream has the same settings, and is not used
        names = [
            name
            for name in names
            if name.replace("server.", "input.", 1) not in names or not name.startswith("server.")
        ]
    found = _named_alike(key, names)
    return f"did you mean {' or '.join(f'{name}={value}' for name in found)}?" if found else ""


def _named_alike(key: str, names: Sequence[str]) -> list[str]:
    """Settings with the same last part, else with one that begins alike, else with a similar one; shortest first."""
    section, _, last = key.rpartition(".")
    inside = [name for name in names if name.startswith(f"{section}.")] if section else []
    lasts = {name: name.rpartition(".")[2] for name in inside or names}
    tests: tuple[Callable[[str], bool], ...] = (
        lambda part: part == last,
        lambda part: part.lower() == last.lower(),
        lambda part: len(last) > 2 and part.startswith(f"{last}_"),  # without its unit
    )
    for test in tests:
        found = [name for name, part in lasts.items() if test(part)]
        if found:
            return sorted(found, key=lambda name: (name.count("."), name))[:_MOST]
    if inside:  # the error lists what there is
        return []
    close = difflib.get_close_matches(last, lasts.values(), n=1, cutoff=0.8)
    return [name for name, part in lasts.items() if part in close][:_MOST]


def _is_key(verb: str, word: str) -> bool:
    return word in _keys(verb, ())


def _keys(verb: str, arguments: Sequence[str]) -> list[str]:
    from midcut.cli.usage import completions  # noqa: PLC0415 - loads the plugins

    return [name.rstrip("=") for name in completions(verb, [*arguments, ""])]
