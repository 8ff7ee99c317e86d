"""The errors that midcut raises on purpose. Each message is one line: what is wrong, where, and what would be right.

    MidcutError
    ├── ConfigError               a setting or a combination of choices
    │   └── UnknownComponentError a component that no plugin registered
    ├── PluginError               a plugin that cannot be used
    ├── FileError                 a profile, trace, image or label file
    ├── ForecastError             a weight, an observation or a forecast that cannot be used
    ├── TelemetryError            a measurement that failed
    ├── ExecutorError             a segment that an executor cannot run
    ├── GraphError                a model that cannot be captured
    │   └── CutError              a cut that does not exist or is not offered
    └── WireError                 a request or a reply; `status` is the HTTP status it becomes
        ├── MalformedError        400
        ├── DamagedError          400  not the request that was sent: send it again
        ├── UnknownModelError     404
        ├── FingerprintError      409
        ├── RepositoryError       409  a version that cannot be loaded or unloaded
        ├── TooLargeError         413
        ├── BusyError             503  retry later
        ├── OutOfMemoryError      503  retry later, or at another cloud
        ├── DeviceError           503  retry at another cloud
        ├── ExpiredError          504  the deadline has passed
        ├── LoopError             508  relays pass the request on in circles
        └── CloudError            502  the cloud failed; the edge finishes the inference itself
            ├── CloudUnreachableError
            ├── CloudTimeoutError
            └── CloudRefusedError

The command line prints that line without a traceback; with HYDRA_FULL_ERROR=1 it prints the traceback, too.
"""

from __future__ import annotations

import errno
import unicodedata
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Control characters, those that turn the direction of text, surrogates, and separators of lines and paragraphs.
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_EXHAUSTED: Final = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
_ALLOCATORS: Final = ("DefaultCPUAllocator", "bad_alloc", "Failed to allocate memory")


class MidcutError(Exception):
    """Base class of all expected errors. Its text has no control characters, whatever it quotes."""

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str, keep: str = "\n\t") -> str:
    """The text with control characters escaped: in a terminal they could hide or forge lines.

    Args:
        keep: control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _UNPRINTABLE
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


class ConfigError(MidcutError):
    """A setting has a value that cannot work, or choices do not fit together."""


class UnknownComponentError(ConfigError):
    """A config names a component that no plugin registered."""


class PluginError(MidcutError):
    """A plugin fails to load, offers a name twice, or has an unknown hook or a wrong signature."""


class FileError(MidcutError):
    """A file is missing, cannot be read, or has the wrong content."""


class ExecutorError(MidcutError):
    """An executor cannot run a segment. It is run in PyTorch instead."""


class ForecastError(MidcutError):
    """A weight is outside [0, 1], an observation lacks a needed field, or a forecast cannot be chosen from."""


class TelemetryError(MidcutError):
    """A telemetry source could not measure."""


class GraphError(MidcutError):
    """A model cannot be loaded, captured or cut."""


class CutError(GraphError):
    """A cut does not exist, or is not offered for this model."""


class WireError(MidcutError):
    """A request cannot be served, or a reply cannot be used.

    Attributes:
        status: the HTTP status of the answer.
        headers: additional HTTP headers of the answer.
    """

    status = 400
    headers: Mapping[str, str] = MappingProxyType({})


class MalformedError(WireError):
    """A body does not follow the protocol."""


class DamagedError(WireError):
    """A request is not the one that was sent: its checksum differs."""


class UnknownModelError(WireError):
    """A request names a model that this cloud has not loaded."""

    status = 404


class FingerprintError(WireError):
    """Both sides have the model, but with different weights, graphs or cuts."""

    status = 409


class RepositoryError(WireError):
    """A version of a model cannot be loaded, or is not there to be unloaded."""

    status = 409


class TooLargeError(WireError):
    """A body is larger than the limit."""

    status = 413


class BusyError(WireError):
    """The queue is full. `retry_after_s` is sent as the `Retry-After` header; None sends no such header."""

    status = 503

    def __init__(self, reason: str, retry_after_s: int | None = 1) -> None:
        super().__init__(reason)
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


class OutOfMemoryError(WireError):
    """A computation ran out of memory. The request itself is valid: another cloud, or this one later, may serve it."""

    status = 503
    headers = MappingProxyType({"Retry-After": "1"})


class DeviceError(WireError):
    """The accelerator failed, whatever the request was: most such errors last until the process is restarted."""

    status = 503
    headers = MappingProxyType({"Retry-After": "1"})


class ExpiredError(WireError):
    """The deadline of the request passed before the answer was ready."""

    status = 504


class LoopError(WireError):
    """A relay's upstream leads back to it, or a request was passed on too often."""

    status = 508


class CloudError(WireError):
    """The cloud did not answer as expected; the edge finishes the inference itself."""

    status = 502


class CloudUnreachableError(CloudError):
    """No connection could be opened, or it broke."""


class CloudTimeoutError(CloudError):
    """The cloud did not answer in time.

    Attributes:
        reused: the request went over a connection that was kept from earlier requests. It may be the connection that is
            dead, so that nothing is known of the cloud.
    """

    def __init__(self, reason: str, *, reused: bool = False) -> None:
        super().__init__(reason)
        self.reused = reused


class VersionError(WireError):
    """The other side speaks versions of the messages that this side does not."""


class CloudRefusedError(CloudError):
    """The cloud answered with an error, or with something that is not a valid answer.

    Attributes:
        http_status: the HTTP status of the answer, 0 if it had none. 400, 413 and 415 concern this one request only.
        retry_after_s: for how long the cloud asks not to be sent requests; None if it does not ask.
    """

    def __init__(self, reason: str, http_status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.http_status = http_status
        self.retry_after_s = retry_after_s


class CloudStrangerError(CloudRefusedError):
    """The server at a cloud's address is something else, such as a web page or another vendor's: it is sent nothing."""


class CloudVersionError(CloudRefusedError):
    """The cloud speaks versions of the messages that this edge does not: no request to it can be answered."""


def root_cause(error: BaseException) -> BaseException:
    """What an error was raised from in the end: compilers wrap errors in those of their passes, which say little."""
    seen: set[int] = set()
    while error.__cause__ is not None and id(error) not in seen:  # whoever raises an error from itself makes a circle
        seen.add(id(error))
        error = error.__cause__
    return error


def one_line_cause(error: BaseException) -> str:
    """Class and text of the root cause."""
    cause = root_cause(error)
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]


def is_exhausted(error: BaseException | None) -> bool:
    """Whether memory or file descriptors ran out, in this error or one that it came from: the request may be valid.

    Torch has an exception class for the memory of GPUs only; for the CPU's, and for other runtimes', the text tells it.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # whoever raises an error from itself makes a circle
        seen.add(id(error))
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _EXHAUSTED):
            return True
        if "OutOfMemoryError" in type(error).__name__ or any(text in str(error) for text in _ALLOCATORS):
            return True
        error = error.__cause__ or error.__context__
    return False
