"""What only the other side can observe: a relay's link to its upstream, a cloud's load and price."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from midcut import wire
from midcut.errors import TelemetryError
from midcut.fields import known_fields
from midcut_telemetry.cloud import Endpoint, KeepAliveConnection, StatusError
from midcut_telemetry.limits import check_timeout

if TYPE_CHECKING:
    from collections.abc import Mapping

_ASK_AGAIN_S = 60.0
_OWN = ("clock_mhz", "bandwidth_kbps", "ping_ms")


class Conditions:
    """Asks `GET /v1/conditions`. An older cloud has none: there are no fields, and it is asked once a minute only."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        interval_s: float,
        token_env: str | None = None,
        token_file: str | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
    ) -> None:
        self.interval_s = interval_s
        access = (token_env, token_file, tls_ca, tls_cert, tls_key)
        self._ask_again_at_s = 0.0
        self._connection = KeepAliveConnection(Endpoint.parse(url), check_timeout("conditions", timeout_s), *access)

    def read(self) -> Mapping[str, float]:
        if time.monotonic() < self._ask_again_at_s:
            return {}
        try:
            fields = json.loads(self._connection.exchange("GET", wire.CONDITIONS_PATH)[1])
        except StatusError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                self._ask_again_at_s = time.monotonic() + _ASK_AGAIN_S
                return {}
            raise
        except ValueError as error:
            raise TelemetryError(f"the cloud's conditions are no JSON: {error}") from None
        if not isinstance(fields, dict):
            raise TelemetryError("the cloud's conditions are no JSON object")
        numbers = {name: value for name, value in fields.items() if isinstance(value, int | float)}
        return {name: float(value) for name, value in numbers.items() if name in known_fields() and name not in _OWN}

    def close(self) -> None:
        self._connection.close()
