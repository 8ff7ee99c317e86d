"""Turns errors of Hydra and OmegaConf into a message of one line that says what would be right."""

from __future__ import annotations

import dataclasses
import difflib
import re

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import MarkedYAMLError

_NO_SECTION = re.compile(r"is not a subclass of (\w+)")
_COMPOSING = re.compile(r": \w+ raised while composing config:$")


def one_line(error: Exception) -> str:
    """The first line of the error and of its cause, with the key; for an unknown key also the keys that exist."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} must be given: {error.full_key}=..."
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, _first_line(error))
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}:{mark.line + 1}: not YAML: {error.problem}"
    cause = error.__cause__ or error.__context__
    parts = [_COMPOSING.sub("", _with_key(error))]
    if parts[0].startswith("Ambiguous value"):
        parts = ["several values for a single choice: add -m to sweep over them, or write [a,b] for a list"]
    if isinstance(error, MissingConfigException) and error.options:
        parts.append(f"there are: {', '.join(error.options)}")
    if isinstance(cause, OmegaConfBaseException):
        parts += [_with_key(cause), _known_keys(cause)]
    return "; ".join(dict.fromkeys(part.rstrip(".") for part in parts if part))


def _unreadable(override: str, why: str) -> str:
    """What is wrong with an override that breaks Hydra's grammar, and how its value is written."""
    name, _, value = override.partition("=")
    if value[:1] in ("[", "{"):
        return f"cannot read {override!r}: its brackets, quotes or commas do not fit together ({why})"
    quoted = value.replace('"', '\\"')
    return (
        f"cannot read {override!r} ({why}): quote a value with special characters, in the shell '{name}=\"{quoted}\"'"
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _with_key(error: BaseException) -> str:
    """The first line of an error, with the key of the value that it is about in front."""
    line = _first_line(error)
    key = (error.full_key or _section_key(error, line)) if isinstance(error, OmegaConfBaseException) else None
    return line if not key or key in line else f"{key}: {line}"


def _section_key(error: OmegaConfBaseException, line: str) -> str:
    """The key of a section that got a plain value, which OmegaConf names by its class alone; `""` if there is none."""
    match = _NO_SECTION.search(line)
    schema = error.object_type
    if match is None or not dataclasses.is_dataclass(schema):
        return ""
    return next((field.name for field in dataclasses.fields(schema) if str(field.type) == match[1]), "")


def _known_keys(error: OmegaConfBaseException) -> str:
    """A suggestion for a misspelt key, or else the keys that exist in its place."""
    try:
        known = [str(key) for key in error.parent_node.keys() if key != "_target_"]  # noqa: SIM118 - a config node
    except (AttributeError, TypeError):
        return ""
    if str(error.key) in known:
        return ""
    close = difflib.get_close_matches(str(error.key), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known))}"
