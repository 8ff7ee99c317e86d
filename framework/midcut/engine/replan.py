"""The planning loop: observation in, current decision swapped as one reference. Never blocks an inference."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from midcut.errors import ConfigError, MidcutError
from midcut.settings import Fallback
from midcut.types import Decision, Placement

if TYPE_CHECKING:
    from midcut.engine.hub import TelemetryHub
    from midcut.policy import Policy
    from midcut.settings import EngineSettings
    from midcut.types import InferenceResult, Observation

_log = structlog.get_logger("midcut.engine")
_FIRST_READ_S: Final = 2.0


class Observers(Protocol):
    """Who is told. `midcut.plugins.registry()` is one."""

    def decided(self, decision: Decision) -> None: ...

    def inferred(self, result: InferenceResult) -> None: ...


class Planning(Protocol):
    """What an engine asks: the decision of the moment, as one reference."""

    @property
    def decision(self) -> Decision: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class PlanningLoop:
    """Re-plans every `interval_s`.

    Raises:
        ConfigError: there is no placement to choose from.
    """

    def __init__(self, policy: Policy, hub: TelemetryHub, settings: EngineSettings, observers: Observers) -> None:
        if not len(policy.placements):
            raise ConfigError("no cut is legal under this configuration")
        self._policy = policy
        self._hub = hub
        self._settings = settings
        self._observers = observers
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="planning")
        self._task: asyncio.Task[None] | None = None
        self._decision: Decision | None = None

    @property
    def decision(self) -> Decision:
        """The current decision: one reference, read once a request."""
        if self._decision is None:
            raise RuntimeError("the planning loop was not started")
        return self._decision

    async def start(self) -> None:
        """Wait briefly for the first telemetry, decide once, then go on in the background."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._hub.wait, _FIRST_READ_S)
        await self.step()
        self._task = asyncio.create_task(self._run(), name="planning")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def step(self) -> Decision:
        """One planning step, on a thread of its own."""
        loop = asyncio.get_running_loop()
        decision, runner_up = await loop.run_in_executor(self._thread, self._decide)
        before, self._decision = self._decision, decision
        _report(decision, before, runner_up)
        self._observers.decided(decision)
        return decision

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.interval_s)
            await self.step()

    def _decide(self) -> tuple[Decision, dict[str, float] | None]:
        observation = self._hub.observe()
        missing = sorted(name for name in self._policy.needs if getattr(observation, name) is None)
        if missing:
            whys = "; ".join(f"no {name}: {observation.missing.get(name, 'nothing gave it')}" for name in missing)
            return self._fall_back(observation, whys), None
        try:
            decision = self._policy.decide(observation)
            return decision, self._policy.runner_up(decision)
        except MidcutError as error:
            return self._fall_back(observation, str(error)), None
        except Exception as error:  # noqa: BLE001 - a stranger's planner; the edge must go on answering
            _log.exception("planning failed")
            return self._fall_back(observation, f"{type(error).__name__}: {error}"), None

    def _fall_back(self, observation: Observation, why: str) -> Decision:
        cuts = self._policy.placements.cut
        how = self._settings.fallback
        if how is Fallback.hold and self._decision is not None:
            placement = self._decision.placement
        else:
            # Without an earlier decision there is nothing to hold; the edge needs nobody.
            placement = Placement(int(cuts.min() if how is Fallback.cloud else cuts.max()))
        return Decision(
            placement=placement,
            index=-1,
            reason=f"fallback {how.value}: {why}",
            weight=self._policy.planner.w,
            observation=observation,
        )


def _report(decision: Decision, before: Decision | None, runner_up: dict[str, float] | None) -> None:
    moved = before is None or before.placement != decision.placement
    details: dict[str, Any] = {
        "cut": decision.placement.cut,
        "reason": decision.reason,
        "weight": decision.weight,
        "observation": decision.observation.values(),
        "chosen": decision.forecast.row(decision.index) if decision.forecast is not None else None,
        "runner_up": runner_up,
        "planning_s": decision.planning_s,
    }
    if before is None:
        _log.info("first cut", **details)
    elif moved:
        _log.info("cut moves", was=before.placement.cut, **details)
    elif (decision.forecast is None) != (before.forecast is None):
        _log.info("planning stopped" if decision.forecast is None else "planning goes on", **details)
    else:
        _log.debug("cut stays", **details)
