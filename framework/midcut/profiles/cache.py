"""The folder in which midcut keeps the profiles that it measured, estimated or fetched by itself."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from midcut.errors import FileError
from midcut.profiles.file_names import file_name
from midcut.profiles.profile import read_profile, write_profile

if TYPE_CHECKING:
    from midcut.profiles.profile import Profile
    from midcut.terms import Role

CACHE_ENV: Final = "MIDCUT_CACHE"
_log = structlog.get_logger("midcut.profiles")


def cached_path(model: str, role: Role, *key: object) -> Path:
    """The file of a profile in the cache, whether or not it exists.

    Args:
        key: whatever the seconds depend on besides model and role.
    """
    digest = hashlib.sha256("\n".join(map(str, key)).encode()).hexdigest()[:16]
    return cache_folder() / f"{file_name(model)}-{role}-{digest}.json"


def read_cached(path: Path) -> Profile | None:
    """The profile in a file of the cache; None if there is none that this version can read."""
    if not path.exists():
        return None
    try:
        return read_profile(path)
    except FileError as error:
        _log.warning("cached profile not used", reason=str(error))
        return None


def write_cached(profile: Profile, path: Path) -> Path:
    """Write a profile into the cache; where that cannot be written, into a temporary folder.

    Raises:
        FileError: its numbers are not those of a profile.
    """
    try:
        return write_profile(profile, path)
    except FileError as error:
        _log.warning("the profile will be gone with this process", reason=str(error))
        return write_profile(profile, _temporary_folder() / path.name)


def cache_folder(what: str = "profiles") -> Path:
    """The folder of cached profiles, or of something else that midcut caches; it may not exist yet."""
    named = os.environ.get(CACHE_ENV)
    if named:
        return Path(named).expanduser() / what
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "midcut" / what


@functools.cache
def _temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="midcut-profiles-"))
