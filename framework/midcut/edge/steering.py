"""Changing what planning goes by while the edge runs: the planner, its settings, and a pinned cut."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
import structlog
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from midcut.component import Kind
from midcut.config.build import build
from midcut.config.registry import registry
from midcut.errors import ConfigError, ForecastError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omegaconf import DictConfig

    from midcut.protocols import Planner
    from midcut.types import Floats, Forecast, Ints

_log = structlog.get_logger("midcut.edge")
Setting = float | int | bool | str | None


class PlanningChange(msgspec.Struct, forbid_unknown_fields=True):
    """A change that a client asks for; what it leaves out stays as it is.

    Attributes:
        planner: name of the planner from now on, with its default settings.
        w: the planner's weight, 0 (fast) to 1 (cheap).
        settings: further settings of the planner by name.
        pinned: a cut that is used whatever the planner would choose; null gives the choice back to the planner.
    """

    planner: str | msgspec.UnsetType = msgspec.UNSET
    w: float | msgspec.UnsetType = msgspec.UNSET
    settings: dict[str, Setting] | msgspec.UnsetType = msgspec.UNSET
    pinned: int | msgspec.UnsetType | None = msgspec.UNSET


class SteeredPlanning(Protocol):
    """Planning whose planner can be replaced; `midcut.edge.planning_loop.PlanningLoop` is one."""

    runner_up: dict[str, float] | None

    async def use_planner(self, planner: Planner) -> None: ...


class PinnedPlanner:
    """Chooses one cut, in the fastest of its codecs."""

    w: float | None = None

    def __init__(self, cut: int) -> None:
        self._cut = cut

    def choose(self, forecast: Forecast, w: float | Floats) -> Ints:  # noqa: ARG002 - the protocol's
        """See `midcut.protocols.Planner`.

        Raises:
            ForecastError: the cut is not on offer now.
        """
        rows = np.flatnonzero(forecast.placements.cut == self._cut)
        if not rows.size:
            raise ForecastError(f"the pinned cut {self._cut} is not on offer now")
        fastest: Ints = rows[forecast.latency_s[..., rows].argmin(axis=-1)]
        return fastest


class Steering:
    """Holds the planner in use, and replaces it.

    Args:
        cfg: the edge's config; its `planner` is the first one.
        legal: the cuts that can be pinned.

    Attributes:
        planner: the one that chooses: the configured one, or a `PinnedPlanner`.

    Raises:
        ConfigError: the configured planner cannot be built.
    """

    def __init__(self, cfg: DictConfig, legal: Sequence[int]) -> None:
        self._cfg = copy.deepcopy(cfg)
        OmegaConf.set_struct(self._cfg, False)  # noqa: FBT003 - OmegaConf takes it by position
        self._legal = tuple(legal)
        self._configured: Planner = build(Kind.PLANNER, self._cfg.planner)
        self._pinned: int | None = None
        self._planning: SteeredPlanning | None = None
        self.planner = self._configured
        self._usable_without_settings = frozenset(name for name in _planner_names() if self._can_build(name))

    @property
    def name(self) -> str:
        """Name of the configured planner."""
        target = self._cfg.planner._target_
        offers = registry().offers.items()
        named = (name for (kind, name), offer in offers if kind is Kind.PLANNER and offer.component.target == target)
        return next(named, "")

    def attach(self, planning: SteeredPlanning) -> None:
        """Steer this planning from now on."""
        self._planning = planning

    def state(self) -> dict[str, Any]:
        """The planner, its weight and settings, the pinned cut, and what else can be chosen, as JSON fields.

        Among `planners` are those that need no further settings, and the one in use.
        """
        settings = OmegaConf.to_container(self._cfg.planner, resolve=True, enum_to_str=True)
        assert isinstance(settings, dict)  # noqa: S101 - for the type checker
        return {
            "planner": self.name,
            "w": self._configured.w,
            "settings": {str(name): value for name, value in settings.items() if name != "_target_"},
            "pinned": self._pinned,
            "planners": sorted(self._usable_without_settings | {self.name}),
            "cuts": self._legal,
        }

    def runner_up(self) -> Mapping[str, float] | None:
        """The forecast row that would be chosen without the current one; None where there is none."""
        return None if self._planning is None else self._planning.runner_up

    async def change(self, wanted: PlanningChange) -> None:
        """Change the planning, at once.

        Raises:
            MalformedError: it is not possible; then nothing is changed.
        """
        pinned = self._pinned if wanted.pinned is msgspec.UNSET else wanted.pinned
        if pinned is not None and pinned not in self._legal:
            raise MalformedError(f"pinned: cut {pinned} is not on offer; the cuts are {list(self._legal)}")
        cfg, configured = self._cfg, self._configured
        settings = {} if wanted.settings is msgspec.UNSET else dict(wanted.settings)
        if wanted.w is not msgspec.UNSET:
            settings["w"] = wanted.w
        if wanted.planner is not msgspec.UNSET or settings:
            name = self.name if wanted.planner is msgspec.UNSET else wanted.planner
            cfg, configured = self._build(name, settings)
        self._cfg, self._configured, self._pinned = cfg, configured, pinned
        self.planner = configured if pinned is None else PinnedPlanner(pinned)
        _log.info("planning changed by a client", planner=self.name, w=configured.w, pinned=pinned)
        if self._planning is not None:
            await self._planning.use_planner(self.planner)

    def _build(self, name: str, settings: Mapping[str, Setting]) -> tuple[DictConfig, Planner]:
        cfg = copy.deepcopy(self._cfg)
        if name != self.name:
            offer = registry().offers.get((Kind.PLANNER, name))
            if offer is None:
                raise MalformedError(f"planner: there is no {name[:40]!r}; there are {', '.join(_planner_names())}")
            OmegaConf.update(cfg, "planner", copy.deepcopy(offer.node), merge=False)
        try:
            for key, value in settings.items():
                if key not in cfg.planner or key == "_target_":
                    raise MalformedError(f"planner {name!r} has no setting {key[:40]!r}")
                if isinstance(value, str) and "${" in value:  # a client must not read the environment
                    raise MalformedError(f"planner.{key}: a value is meant, not a reference")
                _apply_setting(cfg, key, value)
            return cfg, build(Kind.PLANNER, cfg.planner)
        except (ConfigError, ForecastError) as error:
            raise MalformedError(" ".join(str(error).split())) from None

    def _can_build(self, name: str) -> bool:
        try:
            self._build(name, {})
        except Exception:  # noqa: BLE001 - a plugin's planner
            return False
        return True


def _apply_setting(cfg: DictConfig, key: str, value: Setting) -> None:
    try:
        OmegaConf.update(cfg, f"planner.{key}", value)
    except OmegaConfBaseException as error:
        raise MalformedError(f"planner.{key}: {str(error).splitlines()[0]}") from None


def _planner_names() -> list[str]:
    return sorted(name for kind, name in registry().offers if kind is Kind.PLANNER)
