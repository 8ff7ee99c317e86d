"""Limits planning to what the cloud supports: a request for other weights, cuts or codecs would be refused."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog

from midcut.chains import accepts
from midcut.edge.tasks import cancel_task
from midcut.errors import CloudError, CloudRefusedError, CloudStrangerError, CloudVersionError
from midcut.graph.probe import difference
from midcut.types import UpstreamModel
from midcut.wire.oip import FILE
from midcut.wire.version import software

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from midcut.edge.file_choice import FileChoice
    from midcut.graph import Partition
    from midcut.planning.policy import Policy
    from midcut.protocols import ModelLister
    from midcut.types import CutTable, HeldModel, Probe

_log = structlog.get_logger("midcut.edge")
_TIMEOUT_S: Final = 3.0
_MIN_GAP_S: Final = 1.0
# While planning is limited, or the cloud has not answered, the edge may send no request that would show a change, so it
# asks the cloud regularly.
_REPEAT_S: Final = 30.0
# What another server answers when it is asked for a midcut cloud's models: no image is sent there.
_NO_SUCH_CLOUD: Final = (301, 302, 303, 307, 308, 404, 405)


class Replannable(Protocol):
    """Planning whose policy can be replaced while it runs, such as a `PlanningLoop`."""

    async def replan(self, policy: Policy) -> None: ...


class CloudCapabilities:
    """Keeps planning on the cuts and codecs that edge and cloud both offer.

    The cloud is asked at start, after `ask_soon`, and every 30 s while planning is limited to fewer cuts or codecs, or
    while it has not answered.

    Args:
        lister: lists the cloud's models; None if no transport can.
        policy_for: builds the policy for some of the legal cuts and some of the codecs and, before a relay, for what
            the relay can pass on, an `UpstreamModel`.
        codecs: names of those that the edge may use.
        files: gets the formats that the cloud decodes as this edge does.

    Attributes:
        on_listing: called with the cloud's models whenever it has listed them.
    """

    def __init__(
        self,
        lister: ModelLister | None,
        partition: Partition,
        planning: Replannable,
        policy_for: Callable[..., Policy],
        codecs: tuple[str, ...] = ("raw",),
        files: FileChoice | None = None,
    ) -> None:
        self._lister = lister
        self._partition = partition
        self._planning = planning
        self._policy_for = policy_for
        self._all_codecs = codecs
        self._files = files
        self._scope = Scope(partition.legal, codecs)
        self._query_requested = asyncio.Event()
        self.on_replan: list[Callable[[], None]] = []
        self._replanning = asyncio.Lock()
        self._ask_requested = self._replan_requested = False
        self._answered = False
        self._task: asyncio.Task[None] | None = None
        self.on_listing: list[Callable[[Mapping[str, HeldModel]], None]] = []

    async def start(self) -> None:
        """Ask once, then watch in the background. Call it with the transport open, before planning starts."""
        if self._lister is None:
            return
        # Computed here, so that the event loop never has to wait for it.
        await asyncio.to_thread(lambda: self._partition.probe)
        failure = await self._update_scope(self._lister)
        if failure:
            _log.warning("the cloud is not there yet", reason=failure)
        self._task = asyncio.create_task(self._watch(self._lister), name="cloud capabilities")

    async def close(self) -> None:
        await cancel_task(self._task)
        self._task = None

    def ask_soon(self) -> None:
        """Ask for the cloud's capabilities again soon: it recovered or refused a request, so they may have changed."""
        self._ask_requested = True
        self._query_requested.set()

    def replan_soon(self) -> None:
        """Plan anew in the background, because the sizes of files have changed."""
        self._replan_requested = True
        self._query_requested.set()

    def find_mismatch(self, models: Mapping[str, HeldModel]) -> str:
        """Why a cloud with these models must not be asked; `""` if it may be."""
        return find_mismatch(models, self._partition.table, self._partition.probe)

    async def _watch(self, lister: ModelLister) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REPEAT_S if self._scope.why or not self._answered else None):
                    await self._query_requested.wait()
            self._query_requested.clear()
            ask, replan = self._ask_requested, self._replan_requested
            self._ask_requested = self._replan_requested = False
            if ask or not replan:
                await self._attempt(self._update_scope(lister))
            if replan:
                await self._attempt(self.replan())
            await asyncio.sleep(_MIN_GAP_S)

    @staticmethod
    async def _attempt(planning: Awaitable[object]) -> None:
        try:
            await planning
        except Exception:  # noqa: BLE001 - no policy for these cuts; the current ones stay in use
            _log.exception("planning on other cuts failed")

    async def _update_scope(self, lister: ModelLister) -> str:
        """Ask the cloud, and replan if its answer has changed. Returns why it gave no answer, else `""`."""
        self._answered = False
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                models = await lister.listing()
        except CloudRefusedError as error:
            certain = isinstance(error, CloudStrangerError | CloudVersionError)
            if error.http_status not in _NO_SUCH_CLOUD and not certain:
                return str(error)
            await self._use(self._edge_alone(str(error)))
            self._answered = True
            return ""
        except CloudError as error:
            return str(error)
        except TimeoutError:
            return f"no answer in {_TIMEOUT_S:g} s"
        except Exception as error:  # noqa: BLE001 - a plugin's transport may raise anything
            _log.exception("the transport's listing failed")
            return f"{type(error).__name__}: {error}"
        for listener in self.on_listing:
            listener(models)
        legal, probe = self._partition.legal, self._partition.probe
        scope = usable_scope(models, self._partition.table, legal, self._all_codecs, probe)
        held = held_model(models, self._partition.table)
        if self._files is not None and held is not None and FILE in scope.codecs:
            scope = self._compare_decoders(held.pictures, scope, self._files)
        await self._use(scope)
        self._answered = True
        return ""

    def _edge_alone(self, why: str) -> Scope:
        last, legal = self._partition.table.last, self._partition.legal
        return Scope((last,) if last in legal else legal, self._all_codecs, why)

    async def _use(self, scope: Scope) -> None:
        if scope == self._scope:
            return
        before, self._scope = self._scope, scope
        if scope._replace(why="") != before._replace(why=""):
            try:
                await self.replan()
            except BaseException:
                self._scope = before  # so that the next answer tries again
                raise
        self._log_scope(scope)

    def _compare_decoders(self, pictures: Mapping[str, str], scope: Scope, files: FileChoice) -> Scope:
        """Allow files of the formats that both sides decode alike; without any, plan without files."""
        before, differing = files.formats, files.compare(pictures)
        if files.formats:
            if differing and files.formats != before:
                _log.warning(
                    "the cloud decodes some formats differently; pictures of these are sent as pixels",
                    formats=", ".join(differing),
                )
            return scope
        why = "the cloud decodes and preprocesses no picture as this edge does"
        without = tuple(name for name in scope.codecs if name != FILE)
        return scope._replace(codecs=without, why=f"{scope.why}; {why}" if scope.why else why)

    @property
    def before_relay(self) -> bool:
        """Whether the cloud is a relay, so that there are three tiers."""
        return self._scope.onward is not None

    async def replan(self) -> None:
        """Plan with a new policy for the cuts and codecs in use, because what it is built from has changed."""
        async with self._replanning:
            scope = self._scope
            onward = () if scope.onward is None else (scope.onward,)
            policy = await asyncio.to_thread(self._policy_for, scope.cuts, scope.codecs, *onward)
            await self._planning.replan(policy)
        for callback in self.on_replan:
            callback()

    def _log_scope(self, scope: Scope) -> None:
        if not scope.why:
            _log.info("planning on all cuts", cuts=len(scope.cuts), tiers=2 if scope.onward is None else 3)
        elif scope.onward is not None and scope.onward.why:
            tiers = "the relay alone" if not scope.onward.legal else "fewer second cuts"
            _log.warning(f"planning for {tiers}", cuts=len(scope.cuts), reason=scope.why)
        elif scope.cuts == (self._partition.table.last,):
            _log.warning("planning for the edge alone", reason=scope.why)
        elif scope.codecs != self._all_codecs:
            _log.warning("planning on fewer codecs", codecs=scope.codecs, cuts=len(scope.cuts), reason=scope.why)
        elif scope.cuts == self._partition.legal:
            _log.warning("every request will be finished here", reason=scope.why)
        else:
            _log.warning("planning on fewer cuts", cuts=len(scope.cuts), reason=scope.why)


class Scope(NamedTuple):
    """The cuts and codecs that planning may use, and why some are excluded (`""` if none is).

    Attributes:
        onward: what a relay can pass on to its upstream; None where the cloud is no relay.
    """

    cuts: tuple[int, ...]
    codecs: tuple[str, ...]
    why: str = ""
    onward: UpstreamModel | None = None


def usable_scope(
    models: Mapping[str, HeldModel],
    table: CutTable,
    legal: tuple[int, ...],
    codecs: tuple[str, ...],
    probe: Probe | None = None,
) -> Scope:
    """The legal cuts and the codecs that the cloud accepts. Without a common codec only the last cut is usable."""
    cuts, why = usable_cuts(models, table, legal, probe)
    model = held_model(models, table)
    onward = None
    if model is not None and model.upstream is not None and model.fingerprint == table.fingerprint:
        onward = _usable_onward(model.upstream, legal, codecs)
        why = why or onward.why
    accepted = codecs if model is None else tuple(name for name in codecs if accepts(model, name))
    if model is None or accepted == codecs:
        return Scope(cuts, codecs, why, onward)
    refused = ", ".join(name for name in codecs if name not in accepted)
    no_codec = f"the cloud does not take codec {refused}; it takes: {', '.join(model.codecs or ()) or 'none'}"
    why = f"{why}; {no_codec}" if why else no_codec
    if not accepted:
        return Scope((table.last,) if table.last in legal else legal, codecs, why, onward)
    return Scope(cuts, accepted, why, onward)


def _usable_onward(upstream: UpstreamModel, legal: tuple[int, ...], codecs: tuple[str, ...]) -> UpstreamModel:
    """What a relay passes on, as far as the edge offers it. Without a common codec it passes nothing on."""
    shared = tuple(name for name in codecs if name in upstream.codecs)
    cuts = tuple(cut for cut in upstream.legal if cut in legal) if shared else ()
    why = f"beyond the relay: {upstream.why}" if upstream.why else ""
    if not shared:
        why = f"the relay takes none of the codecs {', '.join(codecs)} for its upstream"
    return UpstreamModel(cuts, shared, why)


def usable_cuts(
    models: Mapping[str, HeldModel], table: CutTable, legal: tuple[int, ...], probe: Probe | None = None
) -> tuple[tuple[int, ...], str]:
    """The legal cuts that the cloud can finish, and the last one, which needs no cloud, where it is legal.

    Args:
        probe: the edge's own, to be compared with the cloud's.

    Returns:
        the cuts, and why some are excluded (`""` if none is). If all would be excluded, all legal cuts are returned.
    """
    cloud_cuts, why = _cloud_cuts(models, table, probe)
    cuts = tuple(cut for cut in legal if cut in cloud_cuts or cut == table.last)
    if cuts == legal and not why:
        return legal, ""
    return cuts or legal, why or f"the cloud takes {len(cloud_cuts)} cuts of {table.model!r}: {_range_text(cloud_cuts)}"


def find_mismatch(models: Mapping[str, HeldModel], table: CutTable, probe: Probe | None) -> str:
    """Why a cloud must not finish this model: it answers the probe differently. `""` if it may, or has no such model.

    A cloud with another fingerprint refuses requests itself.
    """
    model = held_model(models, table)
    differs = "" if model is None or model.fingerprint != table.fingerprint else difference(probe, model.probe)
    return f"the cloud's model {table.model!r} gives another answer to the same input: {differs}" if differs else ""


def _cloud_cuts(models: Mapping[str, HeldModel], table: CutTable, probe: Probe | None) -> tuple[frozenset[int], str]:
    model = held_model(models, table)
    if model is None:
        return frozenset(), f"the cloud does not hold model {table.model!r}; it holds: {', '.join(models) or 'none'}"
    if model.fingerprint != table.fingerprint:
        there = " and ".join(held.fingerprint for held in (*model.versions, model))
        return frozenset(), (
            f"the cloud's model {table.model!r} is {there}, here it is {table.fingerprint}: "
            f"other {_what_differs(model, table)}"
        )
    mismatch = find_mismatch(models, table, probe)
    return frozenset() if mismatch else frozenset(model.legal), mismatch


def held_model(models: Mapping[str, HeldModel], table: CutTable) -> HeldModel | None:
    """What a cloud lists under a model's name: the version with the same fingerprint where it holds several."""
    model = models.get(table.model)
    return None if model is None else model.version(table.fingerprint)


def _range_text(cuts: frozenset[int]) -> str:
    return f"{min(cuts)} to {max(cuts)}" if cuts else "none"


def _what_differs(model: HeldModel, table: CutTable) -> str:
    """What is other there; with the versions of both sides where the graph is, which they may capture differently."""
    graph, _, weights = model.fingerprint.partition("-")
    parts = (("graph or cuts", graph != table.graph), ("weights", weights != table.weights))
    differing = [name for name, differs in parts if differs] or ["format of fingerprints"]
    text = " and ".join(differing)
    if differing == ["weights"] or model.software == software():
        return text
    there = model.software or "an older midcut, which does not name its version (wire 1)"
    return f"{text}; the cloud is {there}, this edge {software()}: update the older one"
