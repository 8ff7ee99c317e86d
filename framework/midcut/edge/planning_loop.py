"""The planning loop: replaces the current decision in the background, without blocking an inference."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from midcut.config.settings import Fallback
from midcut.edge.dwelling import Dwelling, PlanningCounts
from midcut.edge.tasks import cancel_task
from midcut.errors import ConfigError, MidcutError
from midcut.planning.breaker import BreakerState
from midcut.serving.threads import Threads
from midcut.types import Decision
from midcut.wire.oip import FILE
from midcut.wire.tracing import span

if TYPE_CHECKING:
    from collections.abc import Callable

    from midcut.config.settings import EngineSettings
    from midcut.edge.calibration.calibration import Calibration
    from midcut.edge.calibration.store import CalibrationStore
    from midcut.edge.telemetry.hub import TelemetryHub
    from midcut.planning.policy import Policy
    from midcut.protocols import Planner
    from midcut.types import InferenceResult, Observation

_log = structlog.get_logger("midcut.edge")
_FIRST_READ_S: Final = 2.0
_LAST_STEP_S: Final = 2.0


class Observers(Protocol):
    """Receives every decision and result. `midcut.config.registry.registry()` is one."""

    def decided(self, decision: Decision) -> None: ...

    def inferred(self, result: InferenceResult) -> None: ...


class CloudState(Protocol):
    """Whether the cloud is available for planning. `midcut.edge.clouds.failover.Clouds` is one."""

    on_change: list[Callable[[], None]]
    """Called on the event loop when `state` has changed."""

    @property
    def state(self) -> BreakerState: ...

    @property
    def why(self) -> str: ...


class Planning(Protocol):
    """Gives an engine the current decision.

    Attributes:
        counts: numbers of steps, switches and fallbacks until now.
    """

    counts: PlanningCounts

    @property
    def decision(self) -> Decision: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class PlanningLoop:
    """Plans every `interval_s`, when a breaker changes, and when latencies differ from the forecasts.

    Decides on a thread of its own. While the circuit breaker is open, it plans for the edge alone, if a
    placement allows that.

    Args:
        calibration: learns before each step, and corrects its forecast; None trusts the predictors.
        store: saves what calibration has learnt.

    Attributes:
        counts: numbers of steps, switches and fallbacks until now; logged when planning ends.
        runner_up: the forecast row that the planner would choose without the current one; None where there is none.

    Raises:
        ConfigError: there is no placement to choose from.
    """

    def __init__(
        self,
        policy: Policy,
        hub: TelemetryHub,
        settings: EngineSettings,
        observers: Observers,
        cloud: CloudState | None = None,
        calibration: Calibration | None = None,
        store: CalibrationStore | None = None,
    ) -> None:
        if not len(policy.placements):
            raise ConfigError("no cut is legal under this configuration")
        self._policy = policy
        self._hub = hub
        self._settings = settings
        self._observers = observers
        self._threads = Threads(1, "planning")
        self._cloud = cloud
        self._calibration = calibration
        self._store = store
        self._step_requested = asyncio.Event()
        if cloud is not None:
            cloud.on_change.append(self._step_requested.set)
        if calibration is not None:
            calibration.on_surprise.append(self._step_requested.set)
        self._task: asyncio.Task[None] | None = None
        self._decision: Decision | None = None
        self._dwelling = Dwelling(settings.dwell, settings.turn_share, settings.min_gain)
        self.counts = PlanningCounts()
        self.runner_up: dict[str, float] | None = None

    @property
    def policy(self) -> Policy:
        """The policy in use."""
        return self._policy

    @property
    def decision(self) -> Decision:
        """The current decision. A request reads it once, and so never mixes two decisions."""
        if self._decision is None:
            raise RuntimeError("the planning loop was not started")
        return self._decision

    async def start(self) -> None:
        """Wait briefly for the first telemetry, decide once, then go on in the background."""
        await self._threads.run(self._hub.wait, _FIRST_READ_S)
        await self.step()
        self._task = asyncio.create_task(self._run(), name="planning")

    async def close(self) -> None:
        await cancel_task(self._task)
        self._task = None
        await asyncio.to_thread(self._threads.close, _LAST_STEP_S)  # wait for the current step, unless a planner hangs
        if self._store is not None:
            await asyncio.to_thread(self._store.save, now=True)
        _log.info("planning ended", **asdict(self.counts))

    def answered(self, decision: Decision, result: InferenceResult) -> None:
        """Pass an answered request on to the policy's components that learn."""
        self._policy.answered(result.placement, decision.observation, result)

    async def step(self, *, periodic: bool = False) -> Decision:
        """Run a planning step: a periodic one if `periodic`, otherwise one that an event asked for."""
        return await self._threads.run(self._step, periodic)

    async def replan(self, policy: Policy) -> None:
        """Replace the policy, and plan with it at once if planning has begun."""
        self._policy = policy
        if self._decision is not None:
            await self.step()

    async def use_planner(self, planner: Planner) -> None:
        """Let another planner choose from now on; the first switch does not wait for `dwell`."""
        self._dwelling.release()
        await self.replan(replace(self._policy, planner=planner))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._settings.interval_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_s) as limit:
                    await self._step_requested.wait()
            self._step_requested.clear()
            # Events do not put the periodic step off: a cut's dwell is counted in these.
            periodic = limit.expired() or loop.time() >= due_s
            if periodic:
                due_s = loop.time() + self._settings.interval_s
            try:
                await self.step(periodic=periodic)
            except Exception:  # noqa: BLE001 - keep the last decision; the next step may succeed
                _log.exception("planning step failed")

    def _step(self, periodic: bool) -> Decision:
        policy = self._policy  # read once: `replan` may replace it during this step
        before = self._decision
        with span("plan") as recorded:
            decision = self._dwelling.settle(policy, self._decide(policy), before, periodic=periodic)
            recorded.set_attribute("midcut.cut", decision.placement.cut)
            recorded.set_attribute("midcut.reason", decision.reason)
        self._decision = decision
        self.counts.add(decision, before)
        self.runner_up = _runner_up(policy, decision)
        _log_decision(decision, before, self.runner_up)
        self._observers.decided(decision)
        if self._store is not None:
            self._store.save()
        return decision

    def _decide(self, policy: Policy) -> Decision:
        observation = self._hub.observe()
        if self._cloud is not None and self._cloud.state is BreakerState.open and policy.placements.on_edge.any():
            index = int(policy.placements.on_edge.argmax())
            why = f"the circuit breaker is open: {self._cloud.why}"
            return Decision(policy.placements[index], -1, why, policy.planner.w, observation)
        missing = sorted(name for name in policy.needs if observation.value(name) is None)
        if missing:
            whys = "; ".join(f"no {name}: {observation.missing.get(name, 'no source provides it')}" for name in missing)
            return self._fall_back(policy, observation, whys)
        try:
            if self._calibration is None:
                return policy.decide(observation)
            self._calibration.learn(policy, observation)
            return policy.decide(observation, self._calibration.correct)
        except MidcutError as error:
            return self._fall_back(policy, observation, str(error))
        except Exception as error:  # noqa: BLE001 - a plugin's planner; the edge must go on answering
            _log.exception("planning failed")
            return self._fall_back(policy, observation, f"{type(error).__name__}: {error}")

    def _fall_back(self, policy: Policy, observation: Observation, why: str) -> Decision:
        on_offer, cuts = policy.placements, policy.placements.cut
        how = self._settings.fallback
        before = self._decision.placement if self._decision is not None else None
        if how is Fallback.hold and before is not None and before in map(on_offer.__getitem__, range(len(on_offer))):
            placement = before
        else:
            # `hold` without an earlier decision uses the edge, which needs no cloud.
            rows = [row for row, codec in enumerate(on_offer.codec) if codec != FILE] or [0]  # not all inputs are files
            placement = on_offer[(min if how is Fallback.cloud else max)(rows, key=cuts.__getitem__)]
        return Decision(
            placement=placement,
            index=-1,
            held=f"fallback {how.value}: {why}",
            weight=policy.planner.w,
            observation=observation,
        )


def _runner_up(policy: Policy, decision: Decision) -> dict[str, float] | None:
    """The second-best row, for the log and the page only: an error here must not affect the decision."""
    try:
        return policy.runner_up(decision)
    except Exception as error:  # noqa: BLE001 - a plugin's planner
        _log.debug("no runner-up", error=f"{type(error).__name__}: {error}")
        return None


def _log_decision(decision: Decision, before: Decision | None, runner_up: dict[str, float] | None) -> None:
    moved = before is None or before.placement != decision.placement
    details: dict[str, Any] = {
        "cut": decision.placement.cut,
        "codec": decision.placement.codec,
        "route": decision.placement.text,
        "reason": decision.reason,
        "weight": decision.weight,
        "observation": decision.observation.values(),
        "age_s": dict(decision.observation.age_s),
        "chosen": decision.forecast.row(decision.index) if decision.forecast is not None else None,
        "runner_up": runner_up,
        "planning_s": decision.planning_s,
    }
    if before is None:
        _log.info("first cut", **details)
    elif [hop.cut for hop in before.placement.hops] != [hop.cut for hop in decision.placement.hops]:
        _log.info("cut moves", was=before.placement.text, **details)
    elif moved:
        _log.info("codec changes", was=before.placement.text, **details)
    elif (decision.forecast is None) != (before.forecast is None):
        _log.info("planning stopped" if decision.forecast is None else "planning resumed", **details)
    elif decision.met != before.met:
        _log.info("limit met" if decision.met else "limit not met", **details)
    elif decision.held and decision.forecast is not None:
        _log.info("switch held back", **details)
    else:
        _log.debug("cut stays", **details)
