"""What of a server's config can be told before models are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midcut.errors import ConfigError
from midcut.wire.credentials import read_token, server_tls

if TYPE_CHECKING:
    from midcut.config.settings import ServerSettings


def check_server(settings: ServerSettings, where: str) -> None:
    """Refuse what no server can be made of.

    Args:
        where: the config's key, for errors: `server`.

    Raises:
        ConfigError: a time out of range, a token or a certificate that cannot be had.
    """
    for name in ("body_timeout_s", "idle_timeout_s"):
        if not getattr(settings, name) > 0.0:
            raise ConfigError(f"{where}.{name} must be over 0, got {getattr(settings, name)}")
    for name in ("leave_s", "drain_s"):
        if not getattr(settings, name) >= 0.0:
            raise ConfigError(f"{where}.{name} must be 0 or more, got {getattr(settings, name)}")
    read_token(settings.token_env, settings.token_file)
    server_tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
