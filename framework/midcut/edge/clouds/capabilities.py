"""What the cloud holds: planning for a cloud with other weights, cuts or codecs is planning in vain."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog

from midcut.edge.tasks import end
from midcut.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midcut.graph import Partition
    from midcut.planning.policy import Policy
    from midcut.protocols import ModelLister
    from midcut.types import CutTable, HeldModel

_log = structlog.get_logger("midcut.edge")
_TIMEOUT_S: Final = 3.0
_PAUSE_S: Final = 1.0
# While the edge plans on fewer cuts than it has, maybe on none that would find out, it asks by itself.
_AGAIN_S: Final = 30.0


class Replanned(Protocol):
    """What takes another policy while it runs. A `PlanningLoop` is one."""

    async def replan(self, policy: Policy) -> None: ...


class CloudCapabilities:
    """Keeps planning on the cuts and codecs that edge and cloud both offer.

    The cloud is asked at start, after `ask_soon`, and every 30 s while planning is narrowed.

    Args:
        lister: who asks it; None where nobody can.
        policy_for: makes the policy for some of the legal cuts and some of the codecs.
        codecs: names of those that the edge may use.
    """

    def __init__(
        self,
        lister: ModelLister | None,
        partition: Partition,
        planning: Replanned,
        policy_for: Callable[[tuple[int, ...], tuple[str, ...]], Policy],
        codecs: tuple[str, ...] = ("raw",),
    ) -> None:
        self._lister = lister
        self._partition = partition
        self._planning = planning
        self._policy_for = policy_for
        self._all_codecs = codecs
        self._scope = Scope(partition.legal, codecs)
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask once, then whenever there is a reason to. The transport is open, planning has not begun."""
        if self._lister is None:
            return
        absent = await self._narrow(self._lister)
        if absent:
            _log.warning("the cloud is not there yet", reason=absent)
        self._task = asyncio.create_task(self._watch(self._lister), name="cloud scope")

    async def close(self) -> None:
        await end(self._task)
        self._task = None

    def ask_soon(self) -> None:
        """The cloud may have changed: it answers again, or it refused a request."""
        self._wanted.set()

    async def _watch(self, lister: ModelLister) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S if self._scope.why else None):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._narrow(lister)
            except Exception:  # noqa: BLE001 - a policy that cannot be made for these cuts; those in use stay
                _log.exception("planning on other cuts failed")
            await asyncio.sleep(_PAUSE_S)

    async def _narrow(self, lister: ModelLister) -> str:
        """Ask, and plan anew where the answer differs from the last one. Returns why there was none."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                held = await lister.listing()
        except CloudError as error:
            return str(error)
        except TimeoutError:
            return f"no answer in {_TIMEOUT_S:g} s"
        except Exception as error:  # noqa: BLE001 - a stranger's transport
            _log.exception("the transport's listing failed")
            return f"{type(error).__name__}: {error}"
        scope = useful(held, self._partition.table, self._partition.legal, self._all_codecs)
        before, was_on = self._scope, (self._scope.cuts, self._scope.codecs)
        if scope != before:
            if (scope.cuts, scope.codecs) != was_on:
                await self._planning.replan(await asyncio.to_thread(self._policy_for, scope.cuts, scope.codecs))
            self._scope = scope
            self._report(scope)
        return ""

    def _report(self, scope: Scope) -> None:
        if not scope.why:
            _log.info("planning on all cuts", cuts=len(scope.cuts))
        elif scope.cuts == (self._partition.table.last,):
            _log.warning("planning for the edge alone", reason=scope.why)
        elif scope.codecs != self._all_codecs:
            _log.warning("planning on fewer codecs", codecs=scope.codecs, cuts=len(scope.cuts), reason=scope.why)
        elif scope.cuts == self._partition.legal:
            _log.warning("every request will be finished here", reason=scope.why)
        else:
            _log.warning("planning on fewer cuts", cuts=len(scope.cuts), reason=scope.why)


class Scope(NamedTuple):
    """What planning is for, and why it is not for all there is (`""` where it is)."""

    cuts: tuple[int, ...]
    codecs: tuple[str, ...]
    why: str = ""


def useful(held: Mapping[str, HeldModel], table: CutTable, legal: tuple[int, ...], codecs: tuple[str, ...]) -> Scope:
    """The legal cuts and the codecs that the cloud takes. Without a common codec only the last cut is of use."""
    cuts, why = useful_cuts(held, table, legal)
    model = held.get(table.model)
    taken = codecs if model is None or model.codecs is None else tuple(one for one in codecs if one in model.codecs)
    if model is None or taken == codecs:
        return Scope(cuts, codecs, why)
    refused = ", ".join(one for one in codecs if one not in taken)
    no_codec = f"the cloud does not take codec {refused}; it takes: {', '.join(model.codecs or ()) or 'none'}"
    why = f"{why}; {no_codec}" if why else no_codec
    if not taken:
        return Scope((table.last,) if table.last in legal else legal, codecs, why)
    return Scope(cuts, taken, why)


def useful_cuts(held: Mapping[str, HeldModel], table: CutTable, legal: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
    """The legal cuts that the cloud can finish, and the last one, which needs no cloud, where it is legal.

    Returns:
        cuts, and why they are fewer (`""` where they are not). All legal cuts where none would be left.
    """
    there, why = _offered(held, table)
    cuts = tuple(cut for cut in legal if cut in there or cut == table.last)
    if cuts == legal and not why:
        return legal, ""
    return cuts or legal, why or f"the cloud takes {len(there)} cuts of {table.model!r}: {_span(there)}"


def _offered(held: Mapping[str, HeldModel], table: CutTable) -> tuple[frozenset[int], str]:
    model = held.get(table.model)
    if model is None:
        return frozenset(), f"the cloud does not hold model {table.model!r}; it holds: {', '.join(held) or 'none'}"
    if model.fingerprint != table.fingerprint:
        return frozenset(), (
            f"the cloud's model {table.model!r} is {model.fingerprint}, here it is {table.fingerprint}: "
            f"other {_what_differs(model.fingerprint, table)}"
        )
    return frozenset(model.legal), ""


def _span(cuts: frozenset[int]) -> str:
    return f"{min(cuts)} to {max(cuts)}" if cuts else "none"


def _what_differs(fingerprint: str, table: CutTable) -> str:
    graph, _, weights = fingerprint.partition("-")
    parts = (("graph or cuts", graph != table.graph), ("weights", weights != table.weights))
    differing = [name for name, differs in parts if differs]
    return " and ".join(differing) if differing else "format of fingerprints"
