"""The clouds an edge may ask: one or several URLs, a breaker each, and one state that planning sees."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final

import structlog
from msgspec.structs import replace

from midcut.edge.clouds.breaker import Breaker, BreakerState
from midcut.edge.tasks import end
from midcut.errors import CloudError, CloudRefusedError, CloudTimeoutError, CloudUnreachableError, WireError
from midcut.protocols import ModelLister

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midcut.protocols import Transport
    from midcut.types import HeldModel, TailReply, TailRequest

_log = structlog.get_logger("midcut.edge")
# What a cloud refuses one request with; it says nothing of the cloud.
THIS_REQUEST: Final = frozenset({400, 413, 415})
_TRIES: Final = 2
_HEALTH_S: Final = 3.0


@dataclass(eq=False)
class _Cloud:
    url: str
    transport: Transport
    breaker: Breaker
    usual_s: float = 0.0  # what the last answer took
    recovering: asyncio.Task[None] | None = None


class Clouds:
    """Asks the first cloud that is well; where it fails, the next one, once; an inference is safe to repeat.

    A cloud that was left alone is first asked for its list of models, by nobody's request, then gets one request.
    All on the event loop; `state` and `why` may be read anywhere.

    Args:
        transports: URL -> transport, in order of preference.
        retry_after_s: see `Breaker`; 0 asks a failing cloud every time.
        failures: likewise.

    Attributes:
        on_change: called when a breaker's state has changed.
        on_recovery: called when a cloud that had failed answers again.
    """

    def __init__(self, transports: Mapping[str, Transport], retry_after_s: float, failures: int = 3) -> None:
        self._clouds = [
            _Cloud(url, transport, Breaker(failures, retry_after_s)) for url, transport in transports.items()
        ]
        self.on_change: list[Callable[[], None]] = []
        self.on_recovery: list[Callable[[], None]] = []

    @property
    def state(self) -> BreakerState:
        """Closed while one cloud's is; half-open where one cloud may be tried; open where all are left alone."""
        states = {cloud.breaker.state for cloud in self._clouds}
        return next(state for state in BreakerState if state in states)

    @property
    def why(self) -> str:
        """Why the clouds are left alone, `""` where none is."""
        return "; ".join(self._named(cloud, cloud.breaker.reason) for cloud in self._clouds if cloud.breaker.reason)

    @property
    def lister(self) -> ModelLister | None:
        """What can list a cloud's models; None where no transport can."""
        return self if any(isinstance(cloud.transport, ModelLister) for cloud in self._clouds) else None

    def states(self) -> dict[str, str]:
        """URL -> `closed`, `half_open` or `open`."""
        return {cloud.url: cloud.breaker.state.value for cloud in self._clouds}

    async def open(self) -> None:
        for cloud in self._clouds:
            await cloud.transport.open()

    async def close(self) -> None:
        """End the probing and the connections, whatever one of them raises."""
        async with contextlib.AsyncExitStack() as all_of_them:
            for cloud in self._clouds:
                all_of_them.push_async_callback(cloud.transport.close)
            for cloud in self._clouds:
                await end(cloud.recovering)

    def why_not(self) -> str:
        """Why no cloud is to be asked now, `""` where one is."""
        whys = []
        for cloud in self._clouds:
            why = cloud.breaker.why_not()
            if not why:
                return ""
            whys.append(self._named(cloud, why))
        return "; ".join(whys)

    async def infer(self, request: TailRequest, check: Callable[[TailReply], None]) -> TailReply:
        """Have the tail computed.

        Args:
            request: its `timeout_s` bounds the whole.
            check: raises a WireError where a reply is no answer; the cloud has then failed.

        Raises:
            CloudError: no cloud answered as it should.
        """
        tried: list[_Cloud] = []
        began = perf_counter()
        error: CloudError = CloudUnreachableError(self.why_not() or "there is no cloud")
        while len(tried) < _TRIES and (cloud := self._next(tried)) is not None:
            left_s = None if request.timeout_s is None else request.timeout_s - (perf_counter() - began)
            tried.append(cloud)
            try:
                return await self._try(cloud, replace(request, timeout_s=left_s) if tried[1:] else request, check)
            except CloudError as failure:
                error = failure
                if isinstance(failure, CloudRefusedError) and failure.said in THIS_REQUEST:
                    break
        raise error

    async def listing(self) -> Mapping[str, HeldModel]:
        """The models of the first cloud that lists them.

        Raises:
            CloudError: none does.
        """
        error: CloudError = CloudUnreachableError("no transport here can list a cloud's models")
        for cloud in sorted(self._clouds, key=lambda one: one.breaker.state is not BreakerState.closed):
            if isinstance(cloud.transport, ModelLister):
                try:
                    return await cloud.transport.listing()
                except CloudError as failure:
                    error = failure
        raise error

    def _named(self, cloud: _Cloud, reason: str) -> str:
        return f"{cloud.url}: {reason}" if reason and len(self._clouds) > 1 else reason

    def _next(self, tried: list[_Cloud]) -> _Cloud | None:
        for cloud in self._clouds:
            if cloud not in tried and not cloud.breaker.why_not():
                return cloud
        return None

    async def _try(self, cloud: _Cloud, request: TailRequest, check: Callable[[TailReply], None]) -> TailReply:
        cloud.breaker.trying()
        started = perf_counter()
        try:
            if request.timeout_s is None:
                reply = await cloud.transport.infer(request)
            else:
                async with asyncio.timeout(request.timeout_s):
                    reply = await cloud.transport.infer(request)
            check(reply)
        except asyncio.CancelledError:
            cloud.breaker.abandoned()
            raise
        except Exception as error:
            failure = _as_cloud_error(error, request.timeout_s)
            if isinstance(failure, CloudTimeoutError) and (request.timeout_s or cloud.usual_s) < cloud.usual_s:
                cloud.breaker.abandoned()  # nobody could have answered that fast
            else:
                self._failed(cloud, failure, perf_counter() - started)
            raise failure from error
        cloud.usual_s = perf_counter() - started
        self._answered(cloud)
        return reply

    def _answered(self, cloud: _Cloud) -> None:
        was = cloud.breaker.state
        if cloud.breaker.succeeded():
            _log.info("the cloud answers again", url=cloud.url)
            _call(self.on_recovery)
        self._note(cloud, was)

    def _failed(self, cloud: _Cloud, error: CloudError, took_s: float) -> None:
        if isinstance(error, CloudRefusedError) and error.said in THIS_REQUEST:
            self._answered(cloud)
            _log.info("the cloud refuses a request", url=cloud.url, reason=str(error))
            return
        was = cloud.breaker.state
        told_s = error.retry_after_s if isinstance(error, CloudRefusedError) else None
        if cloud.breaker.failed(str(error), took_s, told_s):
            _log.warning("the cloud fails", url=cloud.url, reason=str(error))
        self._note(cloud, was)

    def _note(self, cloud: _Cloud, was: BreakerState) -> None:
        state = cloud.breaker.state
        if state is was:
            return
        _log.info("breaker", url=cloud.url, state=state.value, was=was.value, reason=cloud.breaker.reason)
        if state is BreakerState.open and (cloud.recovering is None or cloud.recovering.done()):
            cloud.recovering = asyncio.create_task(self._recover(cloud), name="cloud recovery")
        _call(self.on_change)

    async def _recover(self, cloud: _Cloud) -> None:
        """Wait until an open breaker may half open, which takes a listing where the transport can list."""
        while cloud.breaker.state is BreakerState.open:
            await asyncio.sleep(cloud.breaker.wait_s)
            if isinstance(cloud.transport, ModelLister):
                try:
                    async with asyncio.timeout(_HEALTH_S):
                        await cloud.transport.listing()
                except Exception as error:  # noqa: BLE001 - a stranger's transport
                    cloud.breaker.failed(str(_as_cloud_error(error, _HEALTH_S)))
                    continue
            was = cloud.breaker.state
            cloud.breaker.half_open()
            self._note(cloud, was)


def _as_cloud_error(error: Exception, timeout_s: float | None) -> CloudError:
    if isinstance(error, CloudError):
        return error
    if isinstance(error, TimeoutError):
        return CloudTimeoutError("no answer in time" if timeout_s is None else f"no answer in {timeout_s:.3g} s")
    if isinstance(error, WireError):
        return CloudRefusedError(f"the cloud's reply does not fit: {error}")
    _log.error("transport failed", exc_info=error)
    return CloudUnreachableError(f"transport failed: {type(error).__name__}: {error}")


def _call(told: list[Callable[[], None]]) -> None:
    for one in told:
        one()
