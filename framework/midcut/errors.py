"""Everything midcut raises on purpose. Each message is one line: what was wrong, where, what is right.

    MidcutError
    ├── ConfigError               a knob or a combination of choices
    │   └── UnknownComponentError a name no plugin registered
    ├── PluginError               a plugin that cannot be used
    ├── FileError                 a profile, trace, image or label file
    ├── ForecastError             a weight or a forecast no planner can use
    ├── TelemetryError            a source that could not read
    ├── GraphError                a model that cannot be captured
    │   └── CutError              a cut that does not exist or is not offered
    └── WireError                 a request or a reply; `status` is the HTTP status it becomes
        ├── MalformedError        400
        ├── UnknownModelError     404
        ├── FingerprintError      409
        ├── TooLargeError         413
        ├── BusyError             503  come back later
        ├── OutOfMemoryError      503  later, or elsewhere
        ├── DeviceError           503  elsewhere
        ├── ExpiredError          504  nobody waits for the answer any more
        └── CloudError            502  the cloud did not answer as it should
            ├── CloudUnreachableError
            ├── CloudTimeoutError
            └── CloudRefusedError

The command line prints the line and no traceback; HYDRA_FULL_ERROR=1 asks for it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class MidcutError(Exception):
    """Base of all expected errors."""


class ConfigError(MidcutError):
    """A knob, or a combination of choices, that cannot work."""


class UnknownComponentError(ConfigError):
    """A config names a component that no plugin registered."""


class PluginError(MidcutError):
    """A plugin that is broken, doubled, misspelt or has the wrong signature."""


class FileError(MidcutError):
    """A file that is missing, unreadable or holds something else than it should."""


class ForecastError(MidcutError):
    """A weight outside [0, 1], or a forecast that no planner can choose from."""


class TelemetryError(MidcutError):
    """A telemetry source could not read."""


class GraphError(MidcutError):
    """A model that cannot be captured or cut."""


class CutError(GraphError):
    """A cut that does not exist, or that is not offered for this model."""


class WireError(MidcutError):
    """A request or a reply that cannot be served.

    Attributes:
        status: the HTTP status it becomes.
        headers: what goes into the answer's head beside it.
    """

    status = 400
    headers: Mapping[str, str] = MappingProxyType({})


class MalformedError(WireError):
    """A body that is not what the protocol asks for."""


class UnknownModelError(WireError):
    """A model that this cloud has not loaded."""

    status = 404


class FingerprintError(WireError):
    """Both sides know the model, but not with the same weights, graph and cuts."""

    status = 409


class TooLargeError(WireError):
    """A body over the limit."""

    status = 413


class BusyError(WireError):
    """As much work is waiting as may wait. `Retry-After` tells when to come back; None sends none."""

    status = 503

    def __init__(self, reason: str, retry_after_s: int | None = 1) -> None:
        super().__init__(reason)
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


class OutOfMemoryError(WireError):
    """A computation found no memory. The request is as it should be: elsewhere, or later, it can be served."""

    status = 503
    headers = MappingProxyType({"Retry-After": "1"})


class DeviceError(WireError):
    """The accelerator fails, whatever the request: most such errors stay until the process is started anew."""

    status = 503
    headers = MappingProxyType({"Retry-After": "1"})


class ExpiredError(WireError):
    """The time the asker gave is over before the answer is there."""

    status = 504


class CloudError(WireError):
    """The cloud did not answer as it should; the edge finishes the inference itself."""

    status = 502


class CloudUnreachableError(CloudError):
    """No connection, or the connection broke."""


class CloudTimeoutError(CloudError):
    """No answer in time."""


class CloudRefusedError(CloudError):
    """The cloud answered with an error, or with something that is not an answer.

    Attributes:
        said: the HTTP status it answered with, 0 where it gave none. 400, 413 and 415 concern one request only.
        retry_after_s: how long it asks to be left alone, None where it does not.
    """

    def __init__(self, reason: str, said: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.said = said
        self.retry_after_s = retry_after_s
