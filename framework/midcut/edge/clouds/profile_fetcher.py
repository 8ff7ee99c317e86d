"""Fetches the cloud's own profile, its seconds per node, to be used in place of an estimate."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from midcut.edge.tasks import cancel_task
from midcut.errors import CloudRefusedError, MidcutError
from midcut.profiles import decode_profile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from midcut.profiles import Profile
    from midcut.types import CutTable

_log = structlog.get_logger("midcut.edge")
_RETRY_S: Final = 5.0
_REFUSED_RETRY_S: Final = 60.0


class _Source(Protocol):
    async def profile(self, model: str, tier: int = 0) -> bytes: ...


class CloudProfileFetcher:
    """Asks the cloud for its profile until it sends one; a relay also for its upstream's.

    Args:
        source: the clouds, which are asked in order of preference.
        table: the model's cut table.
        use: plans with a profile, as that of a part: `cloud` or `relay`.
        before_relay: whether the cloud is a relay now.
        parts: the parts whose profiles are to be asked for.
    """

    def __init__(
        self,
        source: _Source,
        table: CutTable,
        use: Callable[[str, Profile], Awaitable[None]],
        before_relay: Callable[[], bool] = lambda: False,
        parts: frozenset[str] = frozenset({"cloud"}),
    ) -> None:
        self._source = source
        self._table = table
        self._use = use
        self._before_relay = before_relay
        self._parts = parts
        self._done: set[tuple[str, int]] = set()
        self._ask_requested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask in the background. Call it with the transport open."""
        self._task = asyncio.create_task(self._run(), name="profile of the cloud")

    async def close(self) -> None:
        await cancel_task(self._task)
        self._task = None

    def ask_soon(self) -> None:
        """Ask again soon for what is missing: the cloud recovered, or there are other tiers now."""
        self._ask_requested.set()

    @property
    def _missing(self) -> list[tuple[str, int]]:
        """Part and tier of each profile that planning lacks."""
        wanted = [("relay", 0), ("cloud", 1)] if self._before_relay() else [("cloud", 0)]
        return [(part, tier) for part, tier in wanted if part in self._parts and (part, tier) not in self._done]

    async def _run(self) -> None:
        reported = ""
        while True:
            retry_s: float | None = None
            for part, tier in self._missing:
                retry_s = _RETRY_S
                try:
                    profile = self._decode(await self._source.profile(self._table.model, tier))
                    await self._use(part, profile)
                except MidcutError as error:
                    if isinstance(error, CloudRefusedError):  # an older cloud, or other weights
                        retry_s = _REFUSED_RETRY_S
                    if str(error) != reported:
                        reported = str(error)
                        _log.warning(f"planning without the {part}'s own seconds", reason=reported)
                    break
                except Exception:  # noqa: BLE001 - a plugin's transport; requests are answered all the same
                    _log.exception("the transport's profile failed")
                    break
                else:
                    self._done.add((part, tier))
                    _log.info(f"planning with the {part}'s own seconds", machine=profile.machine.name)
            else:
                retry_s = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(retry_s):
                    await self._ask_requested.wait()
            self._ask_requested.clear()

    def _decode(self, text: bytes) -> Profile:
        profile = decode_profile(text, "the cloud")
        if profile.table.graph != self._table.graph:
            raise CloudRefusedError(f"the cloud's profile of {profile.model!r} is of another graph")
        return profile
