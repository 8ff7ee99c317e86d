"""Tokens and certificates that are read anew when their files change: replacing them takes no restart."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from midcut.errors import ConfigError
from midcut.wire.credentials import client_tls, read_token, server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

_log = structlog.get_logger("midcut.wire")
_LOOK_EVERY_S: Final = 1.0


class WatchedFiles:
    """Tells whether files have changed since the last call; looks once a second at most."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._state = self._stamps()
        self._looked_s = time.monotonic()

    def changed(self) -> bool:
        if not self._paths:
            return False
        now = time.monotonic()
        if now - self._looked_s < _LOOK_EVERY_S:
            return False
        self._looked_s = now
        before, self._state = self._state, self._stamps()
        return before != self._state

    def _stamps(self) -> list[tuple[int, ...]]:
        stamps: list[tuple[int, ...]] = []
        for path in self._paths:
            try:
                found = Path(path).stat()
            except OSError:
                stamps.append(())
            else:
                # The last one changes with permissions, too.
                stamps.append((found.st_mtime_ns, found.st_ino, found.st_size, found.st_ctime_ns))
        return stamps


class Token:
    """A bearer token from an environment variable or a file.

    Raises:
        ConfigError: both are configured, or the one that is holds no token.
    """

    def __init__(self, token_env: str | None, token_file: str | None, key: str = "token") -> None:
        self._file, self._key = token_file, key
        self._files = WatchedFiles([token_file] if token_file else [])  # first, so that no change falls in between
        self._value = read_token(token_env, token_file, key)

    def current(self) -> str | None:
        """The token as it is now, None where none is configured. A file that holds none any more changes nothing."""
        if self._files.changed():
            try:
                self._value = read_token(None, self._file, self._key)
            except ConfigError as error:
                _log.warning("the token stays as it was", reason=str(error))
            else:
                _log.info("token read anew", file=self._file)
        return self._value


class Certificate:
    """The certificate of a server's TLS context, with its key and the CA of its clients.

    Args:
        context: holds them already; connections made after `refresh` use the new ones.
        cert, key, ca: as for `server_tls`.
    """

    def __init__(self, context: ssl.SSLContext, cert: str, key: str | None, ca: str | None = None) -> None:
        self._context, self._settings = context, (cert, key, ca)
        self._files = WatchedFiles([path for path in (cert, key, ca) if path])

    def refresh(self) -> None:
        """Read the files anew where they have changed. Files that do not fit (yet) change nothing."""
        if not self._files.changed():
            return
        cert = self._settings[0]
        try:
            renewed = server_context(*self._settings)
        except ConfigError as error:
            _log.warning("the certificate stays as it was", file=cert, reason=str(error))
        else:
            # Not loaded into the context itself: OpenSSL drops the old key before it finds that the new one does not
            # fit, and keeps certificates with keys of other kinds, and CAs that were taken away.
            self._context.sni_callback = partial(_use, renewed)
            _log.info("certificate read anew", file=cert)


def _use(context: ssl.SSLContext, connection: ssl.SSLObject, *_: object) -> None:
    connection.context = context


class ClientTls:
    """The TLS context of a client, made anew when one of its files changes.

    Args:
        ca, cert, key: as for `client_tls`.

    Raises:
        ConfigError: see `client_tls`.
    """

    def __init__(self, ca: str | None, cert: str | None, key: str | None) -> None:
        self._settings = ca, cert, key
        self._files = WatchedFiles([path for path in (ca, cert, key) if path])  # first, as for a token
        self._context = client_tls(ca, cert, key)

    def current(self) -> ssl.SSLContext:
        """The context for the next connection. Files that do not fit (yet) change nothing."""
        if self._files.changed():
            try:
                self._context = client_tls(*self._settings)
            except ConfigError as error:
                _log.warning("certificates stay as they were", reason=str(error))
            else:
                _log.info("certificates read anew", files=", ".join(filter(None, self._settings)))
        return self._context
