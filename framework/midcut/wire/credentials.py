"""Bearer tokens and TLS contexts from config, for servers and for clients."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final

from midcut.errors import ConfigError

_OLDEST_TLS: Final = ssl.TLSVersion.TLSv1_2


def read_token(token_env: str | None, token_file: str | None, key: str = "token") -> str | None:
    """The bearer token from an environment variable or a file; None where neither is configured.

    Args:
        key: what the two settings begin with, for errors.

    Raises:
        ConfigError: both are configured, or the one that is holds no token.
    """
    if token_env and token_file:
        raise ConfigError(f"{key}_env and {key}_file are both set: keep one")
    if token_env:
        token, source = os.environ.get(token_env, ""), f"{key}_env: the environment variable {token_env}"
    elif token_file:
        source = f"{key}_file: {token_file}"
        try:
            token = Path(token_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source} cannot be read: {getattr(error, 'strerror', None) or 'not text'}") from None
    else:
        return None
    token = token.strip()
    if not token:
        raise ConfigError(f"{source} is empty; it must hold the token")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError(
            f"{source} holds characters that an HTTP header cannot carry; a token is ASCII without spaces"
        )
    return token


def server_tls(cert: str | None, key: str | None, client_ca: str | None) -> ssl.SSLContext | None:
    """The TLS context of a server; None for plain HTTP.

    Args:
        cert: file with its certificate and the chain to the CA, PEM.
        key: file with its private key; None where `cert` holds it too.
        client_ca: file with the CA that must have signed a client's certificate; None requires no certificate.

    Raises:
        ConfigError: a file is missing or holds something else, or a file that is needed is not configured.
    """
    if not cert:
        if key or client_ca:
            raise ConfigError("tls_key and tls_client_ca need tls_cert")
        return None
    return server_context(cert, key, client_ca)


def server_context(cert: str, key: str | None, client_ca: str | None) -> ssl.SSLContext:
    """The TLS context of a server that has a certificate; see `server_tls`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = _OLDEST_TLS
    _load_certificate(context, cert, key)
    if client_ca:
        _load_ca(context, client_ca, "tls_client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    """The TLS context of a client.

    Args:
        ca: file with the CA that signed the server's certificate, PEM; None trusts the system's CAs.
        cert, key: files with the client's certificate and its private key, where the server requires one.

    Raises:
        ConfigError: a file is missing or holds something else, or a file that is needed is not configured.
    """
    if key and not cert:
        raise ConfigError("tls_key needs tls_cert")
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = _OLDEST_TLS
    if ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks names and certificates; trusts no CA yet
        context.minimum_version = _OLDEST_TLS
        _load_ca(context, ca, "tls_ca")
    if cert:
        _load_certificate(context, cert, key)
    return context


def _load_certificate(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    try:
        context.load_cert_chain(cert, key, password="")  # an encrypted key fails instead of asking
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (cert, key)))
        raise ConfigError(f"tls_cert, tls_key ({files}): {_reason(error)}") from None


def _load_ca(context: ssl.SSLContext, ca: str, key: str) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key} ({ca}): {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, ssl.SSLError):
        return f"it must be a certificate and its unencrypted key in PEM ({error.reason or error})"
    return getattr(error, "strerror", None) or str(error)
