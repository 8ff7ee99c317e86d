"""Failover between clouds: one or several URLs with a breaker each, and one common state for planning."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Final

import structlog
from msgspec.structs import replace

from midcut.edge.tasks import cancel_task
from midcut.errors import (
    CloudError,
    CloudRefusedError,
    CloudStrangerError,
    CloudTimeoutError,
    CloudUnreachableError,
    CloudVersionError,
    WireError,
)
from midcut.planning.breaker import Breaker, BreakerState
from midcut.protocols import ModelLister, ProfileSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from midcut.edge.clouds.adapting import CodecAdapter
    from midcut.protocols import Transport
    from midcut.types import HeldModel, TailReply, TailRequest

_log = structlog.get_logger("midcut.edge")
# HTTP statuses that mean a fault of the request; they do not count as failures of the cloud.
_REQUEST_FAULTS: Final = frozenset({400, 413, 415})
_TRIES: Final = 2
_LISTING_TIMEOUT_S: Final = 3.0
_RECENT_ANSWERS: Final = 32
# Without any answer for this long, time-outs count as failures however short they were.
_SILENT_S: Final = 10.0
# The share of a request's time that a second cloud must have had for its time-out to count.
_FAIR_SHARE: Final = 0.5
# A cloud that must not be used is asked for its models again: another one may have taken its place.
_LIST_AGAIN_S: Final = 30.0


@dataclass(eq=False)
class _CloudState:
    """What is known of one cloud.

    Attributes:
        recent_answers_s: seconds that its last answers took.
        answered_at_s: when it last answered a request, by `perf_counter`; 0.0 if never.
        answered_listing: whether it has answered a request for its models, be it with a refusal.
        mismatch: why it must not be used; `""` if it may be.
        mismatch_at_s: when it was last asked for its models, by `perf_counter`, if there is a mismatch.
    """

    url: str
    transport: Transport
    breaker: Breaker
    recent_answers_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_ANSWERS))
    answered_at_s: float = 0.0
    answered_listing: bool = False
    mismatch: str = ""
    mismatch_at_s: float = 0.0
    models: Mapping[str, HeldModel] = field(default_factory=dict)
    last_failure: str = "it was never asked"
    recovering: asyncio.Task[None] | None = None


class Clouds:
    """Sends a request to the first cloud whose breaker permits it; if it fails, to the next one, but to no third.

    Repeating is safe, because an inference changes nothing. While a breaker is open, a background task lists the
    cloud's models; if that works, one request may try the cloud. Used on the event loop, but `state` and `why` may
    be read on any thread.

    Args:
        transports: URL -> transport, in order of preference.
        retry_after_s: seconds for which an open breaker stays open, at least; 0 lets every request try a failing
            cloud that does not ask for a wait.
        failures: failures in a row after which a breaker opens.

    Attributes:
        on_change: called when a breaker's state has changed.
        on_recovery: called when a cloud that had failed answers again.
        on_first_listing: called when a cloud was asked for its models just before a request, or has come back as one
            that must not be used: planning does not know of it yet.
        find_mismatch: says of a cloud's models why that cloud must not be used, `""` if it may be. With it, a cloud
            that can list its models is asked for them before its first request.
        adapter: changes the codec of requests for a cloud that does not take it; None sends them as they are.
    """

    def __init__(self, transports: Mapping[str, Transport], retry_after_s: float, failures: int = 3) -> None:
        self._clouds = [
            _CloudState(url, transport, Breaker(failures, retry_after_s)) for url, transport in transports.items()
        ]
        self.on_change: list[Callable[[], None]] = []
        self.on_recovery: list[Callable[[], None]] = []
        self.on_first_listing: list[Callable[[], None]] = []
        self.find_mismatch: Callable[[Mapping[str, HeldModel]], str] | None = None
        self.adapter: CodecAdapter | None = None

    @property
    def state(self) -> BreakerState:
        """Closed if any cloud's breaker is closed, else half-open if any is half-open, else open."""
        states = {cloud.breaker.state for cloud in self._clouds}
        return next(state for state in BreakerState if state in states)

    @property
    def why(self) -> str:
        """The last failure of each failing cloud; `""` if none fails."""
        return "; ".join(self._with_url(cloud, cloud.breaker.reason) for cloud in self._clouds if cloud.breaker.reason)

    @property
    def lister(self) -> ModelLister | None:
        """This object, if a transport can list its cloud's models; else None."""
        return self if any(isinstance(cloud.transport, ModelLister) for cloud in self._clouds) else None

    @property
    def never_reached(self) -> str:
        """Why no cloud has ever answered; `""` if one has."""
        if any(cloud.answered_listing or cloud.answered_at_s for cloud in self._clouds):
            return ""
        return "; ".join(f"{cloud.url}: {cloud.last_failure}" for cloud in self._clouds)

    def states(self) -> dict[str, str]:
        """URL -> `closed`, `half_open` or `open`."""
        return {cloud.url: cloud.breaker.state.value for cloud in self._clouds}

    async def open(self) -> None:
        for cloud in self._clouds:
            await cloud.transport.open()

    async def close(self) -> None:
        """End the recovery tasks and close the transports, all of them even if one raises an error."""
        async with contextlib.AsyncExitStack() as transports_to_close:
            for cloud in self._clouds:
                transports_to_close.push_async_callback(cloud.transport.close)
            for cloud in self._clouds:
                await cancel_task(cloud.recovering)

    def blocked_reason(self) -> str:
        """Why no cloud may be asked now; `""` if one may."""
        whys = []
        for cloud in self._clouds:
            why = self._why_blocked(cloud)
            if not why:
                return ""
            whys.append(self._with_url(cloud, why))
        return "; ".join(whys)

    async def infer(
        self,
        request: TailRequest,
        check: Callable[[TailReply], Awaitable[None] | None],
        exchanging: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> TailReply:
        """Have the tail computed.

        Args:
            request: its `timeout_s` covers both tries together.
            check: raises a WireError for a reply that does not fit the request, at once or when awaited; this counts as
                a failure of the cloud.
            exchanging: makes a context for each exchange, which is left before the reply is checked.

        Raises:
            CloudError: no cloud gave a valid reply.
        """
        tried: list[_CloudState] = []
        began = perf_counter()
        error: CloudError = CloudUnreachableError(self.blocked_reason() or "there is no cloud")
        while len(tried) < _TRIES and (cloud := self._next_cloud(tried)) is not None:
            limited = request
            if tried and request.timeout_s is not None:
                left_s = request.timeout_s - (perf_counter() - began)
                if left_s <= 0.0:
                    break
                limited = replace(request, timeout_s=left_s)
            tried.append(cloud)
            try:
                return await self._try(cloud, limited, check, exchanging, request.timeout_s)
            except CloudError as failure:
                error = failure
                if isinstance(failure, CloudRefusedError) and failure.http_status in _REQUEST_FAULTS:
                    break
        raise error

    async def listing(self) -> Mapping[str, HeldModel]:
        """The models of the first cloud, in order of preference, that lists them.

        Raises:
            CloudError: no cloud answers.
        """
        error: CloudError = CloudUnreachableError("no transport here can list a cloud's models")
        for cloud in sorted(self._clouds, key=lambda cloud: cloud.breaker.state is not BreakerState.closed):
            if isinstance(cloud.transport, ModelLister):
                try:
                    return await self._list_models(cloud, cloud.transport)
                except CloudError as failure:
                    error = failure
                    cloud.last_failure = str(failure)
        raise error

    async def _list_models(self, cloud: _CloudState, lister: ModelLister) -> Mapping[str, HeldModel]:
        try:
            models = await lister.listing()
        except (CloudStrangerError, CloudVersionError) as error:
            cloud.answered_listing, cloud.mismatch, cloud.mismatch_at_s = True, str(error), perf_counter()
            raise
        cloud.answered_listing, cloud.models, cloud.mismatch_at_s = True, models, perf_counter()
        cloud.mismatch = "" if self.find_mismatch is None else self.find_mismatch(models)
        return models

    async def profile(self, model: str, tier: int = 0) -> bytes:
        """The profile of a model by the first cloud, in order of preference, that sends one.

        Raises:
            CloudError: no cloud answers.
        """
        error: CloudError = CloudUnreachableError("no transport here can fetch a cloud's profiles")
        for cloud in self._clouds:
            if isinstance(cloud.transport, ProfileSource):
                try:
                    return await (cloud.transport.profile(model, tier) if tier else cloud.transport.profile(model))
                except CloudError as failure:
                    error = failure
        raise error

    def _with_url(self, cloud: _CloudState, reason: str) -> str:
        return f"{cloud.url}: {reason}" if reason and len(self._clouds) > 1 else reason

    def _why_blocked(self, cloud: _CloudState) -> str:
        mismatch = "" if self._is_to_be_listed_again(cloud) else cloud.mismatch
        return mismatch or cloud.breaker.blocked_reason()

    def _is_to_be_listed_again(self, cloud: _CloudState) -> bool:
        """Whether a cloud that must not be used gets another chance.

        A proxy in front of it may have been restarting, or it may have been updated.
        """
        return bool(cloud.mismatch) and perf_counter() - cloud.mismatch_at_s > _LIST_AGAIN_S

    def _next_cloud(self, tried: list[_CloudState]) -> _CloudState | None:
        return next((cloud for cloud in self._clouds if cloud not in tried and not self._why_blocked(cloud)), None)

    async def _try(
        self,
        cloud: _CloudState,
        request: TailRequest,
        check: Callable[[TailReply], Awaitable[None] | None],
        exchanging: Callable[[], AbstractContextManager[None]],
        allowed_s: float | None,
    ) -> TailReply:
        cloud.breaker.begin_try()
        started = perf_counter()
        adapting = False  # while True, a failure is the edge's own and must not count against the cloud
        try:
            async with asyncio.timeout(request.timeout_s):
                await self._check_first(cloud)
                held = cloud.models.get(request.model)
                if held is not None and self.adapter is not None and not self.adapter.takes(held, request):
                    adapting = True
                    request = await self.adapter.adapt(held, request)
                    adapting = False
                with exchanging():
                    reply = await cloud.transport.infer(request)
            answered_at_s = perf_counter()
            if (checking := check(reply)) is not None:
                await checking
        except asyncio.CancelledError:
            cloud.breaker.abandon_try()
            raise
        except Exception as error:
            failure = _as_cloud_error(error, request.timeout_s, "another codec" if adapting else "transport")
            if not adapting and _is_evidence(cloud, failure, request.timeout_s, allowed_s):
                self._record_failure(cloud, failure, perf_counter() - started)
            else:
                cloud.breaker.abandon_try()
            raise failure from error
        cloud.answered_at_s = answered_at_s
        cloud.recent_answers_s.append(cloud.answered_at_s - started)
        self._record_answer(cloud)
        return reply

    async def _check_first(self, cloud: _CloudState) -> None:
        """List the models of a cloud that has not listed them yet; raise CloudRefusedError if it must not be used."""
        again = self._is_to_be_listed_again(cloud)
        unknown = not cloud.answered_listing and self.find_mismatch is not None
        if (again or unknown) and isinstance(cloud.transport, ModelLister):
            cloud.mismatch_at_s = perf_counter()
            try:
                async with asyncio.timeout(_LISTING_TIMEOUT_S):
                    await self._list_models(cloud, cloud.transport)
            except CloudRefusedError:  # it answers, but lists no models
                cloud.answered_listing = True
            except Exception as error:  # noqa: BLE001 - a plugin's transport may raise anything
                _log.debug("the cloud lists no models", url=cloud.url, reason=str(error))
            if cloud.answered_listing:
                _call_all(self.on_first_listing)
        if cloud.mismatch:
            raise CloudRefusedError(cloud.mismatch)

    def _record_answer(self, cloud: _CloudState) -> None:
        was = cloud.breaker.state
        if cloud.breaker.record_success():
            _log.info("the cloud answers again", url=cloud.url)
            _call_all(self.on_recovery)
        self._report_change(cloud, was)

    def _record_failure(self, cloud: _CloudState, error: CloudError, took_s: float) -> None:
        cloud.last_failure = str(error)
        if isinstance(error, CloudRefusedError) and error.http_status in _REQUEST_FAULTS:
            self._record_answer(cloud)
            _log.info("the cloud refuses a request", url=cloud.url, reason=str(error))
            return
        was = cloud.breaker.state
        requested_s = error.retry_after_s if isinstance(error, CloudRefusedError) else None
        if cloud.breaker.record_failure(str(error), took_s, requested_s):
            _log.warning("the cloud fails", url=cloud.url, reason=str(error))
        self._report_change(cloud, was)

    def _report_change(self, cloud: _CloudState, was: BreakerState) -> None:
        state = cloud.breaker.state
        if state is was:
            return
        _log.info(
            "circuit breaker changed", url=cloud.url, state=state.value, was=was.value, reason=cloud.breaker.reason
        )
        if state is BreakerState.open and (cloud.recovering is None or cloud.recovering.done()):
            cloud.recovering = asyncio.create_task(self._recover(cloud), name="cloud recovery")
        _call_all(self.on_change)

    async def _recover(self, cloud: _CloudState) -> None:
        """Wait until the breaker's time is over, then make it half-open.

        If the transport can list models, the listing must succeed first.
        """
        while cloud.breaker.state is BreakerState.open:
            await asyncio.sleep(cloud.breaker.wait_s)
            if isinstance(cloud.transport, ModelLister):
                try:
                    async with asyncio.timeout(_LISTING_TIMEOUT_S):
                        await self._list_models(cloud, cloud.transport)
                except Exception as error:  # noqa: BLE001 - a plugin's transport may raise anything
                    was = cloud.breaker.state
                    cloud.breaker.record_failure(str(_as_cloud_error(error, _LISTING_TIMEOUT_S)))
                    self._report_change(cloud, was)
                    continue
                if cloud.mismatch:
                    _call_all(self.on_first_listing)
            was = cloud.breaker.state
            cloud.breaker.half_open()
            self._report_change(cloud, was)


def _is_evidence(cloud: _CloudState, failure: CloudError, timeout_s: float | None, allowed_s: float | None) -> bool:
    """Whether a failure shows that the cloud fails.

    A time-out that was shorter than answers usually take shows that a client is impatient, so that it must not take
    the cloud from others; one on a kept connection may show that just the connection is dead. Where another cloud was
    tried first, and left little of the time, that cloud is to blame.

    Args:
        timeout_s: the limit of this try.
        allowed_s: the limit of the request, for both tries.
    """
    if not isinstance(failure, CloudTimeoutError):
        return True
    if failure.reused:
        return False
    if timeout_s is not None and allowed_s is not None and timeout_s < _FAIR_SHARE * allowed_s:
        return False
    too_short = timeout_s is not None and timeout_s < max(cloud.recent_answers_s, default=0.0)
    return not too_short or perf_counter() - cloud.answered_at_s > _SILENT_S


def _as_cloud_error(error: Exception, timeout_s: float | None, part: str = "transport") -> CloudError:
    if isinstance(error, CloudError):
        return error
    if isinstance(error, TimeoutError):
        return CloudTimeoutError("no answer in time" if timeout_s is None else f"no answer in {timeout_s:.3g} s")
    if isinstance(error, WireError):
        return CloudRefusedError(f"the cloud's reply does not fit: {error}")
    _log.error(f"{part} failed", exc_info=error)
    return CloudUnreachableError(f"{part} failed: {type(error).__name__}: {error}")


def _call_all(callbacks: list[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()
