"""Builds a simulation from its config; what is done with the result is up to the caller."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, cast

from hydra.errors import HydraException
from omegaconf import ListConfig, OmegaConf, open_dict

from midcut.component import STRATEGY, Kind
from midcut.config.build import build, settings_of
from midcut.config.composition import compose
from midcut.config.settings import PlanConfig, ScenarioDrawn, ScenarioKind, ScenarioTrace, SimulateConfig
from midcut.errors import ConfigError
from midcut.planning.assembly import build_forecaster, build_policy
from midcut.planning.cuts import legal_cuts
from midcut.planning.placements import offered_placements
from midcut.profiles import Role, find_profile
from midcut.profiles.codings import build_measured_codecs
from midcut.profiles.filling import fill_profiles
from midcut.simulation.run import ResultHeader, Setup

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from midcut.planning.policy import Policy
    from midcut.types import CutTable

_ROLES = ("edge", "link", "cloud")
_MAX_WEIGHTS = 10_001


def assemble(cfg: DictConfig, choices: Any, folder: Path) -> tuple[Setup, ResultHeader]:
    """Build the setup of a simulation, and the header of its result, from its config.

    Args:
        cfg: the config, composed for `midcut simulate`.
        choices: config group -> chosen component, as Hydra records it.
        folder: where profiles that had to be estimated are written.
    """
    settings = settings_of(cfg, SimulateConfig)
    scenario = _typed_scenario(cfg)
    model = fill_profiles(cfg, "simulate", folder)
    table = find_profile(cfg.edge_profile, Role.edge, model).table
    cuts = legal_cuts(table, settings.cuts)
    on_offer = offered_placements(table, cuts, build_measured_codecs(cfg, table), settings.tiers, cfg.accuracy_floor)
    planning, truth = (build_forecaster(cfg, nodes, on_offer) for nodes in (cfg.predictor, cfg.truth))
    setup = Setup(
        planning=planning,
        truth=truth,
        planners={str(name): build(Kind.PLANNER, node) for name, node in (cfg[STRATEGY] or {}).items()},
        weights=parse_weights(cfg.w),
        scenario=scenario,
        reply_timeout_s=settings.reply_timeout_s,
        give_up_factor=settings.give_up_factor,
        population=settings.population,
        dwell=tuple(dict.fromkeys(settings.dwell)),
        keep_samples=settings.keep_samples,
        claims=tuple(settings.claims),
        systems={name: _system(name, words, cfg, table) for name, words in _systems(settings.systems).items()},
    )
    header = ResultHeader(
        title=settings.title or model,
        scenario=cast("dict[str, object]", OmegaConf.to_container(cfg.scenario, resolve=True, enum_to_str=True)),
        policy={role: str(choices.get(f"predictor/{role}")) for role in _ROLES},
        truth={role: str(choices.get(f"predictor/{role}@truth.{role}")) for role in _ROLES},
        cost=str(choices.get("cost")),
        after=tuple(table.nodes[cut - 1].name if cut else "input" for cut in on_offer.cut.tolist()),
        based_on=planning.based_on | {f"truth.{part}": text for part, text in truth.based_on.items()},
    )
    return setup, header


def _systems(given: Any) -> dict[str, list[str]]:
    """The setting `systems`, checked: it is untyped, because Hydra lets nobody add names to a typed one."""
    systems = OmegaConf.to_container(given) if OmegaConf.is_config(given) else given or {}
    if not isinstance(systems, dict) or not all(
        isinstance(words, list) and all(isinstance(word, str) for word in words) for words in systems.values()
    ):
        raise ConfigError(f"systems must be names with lists of overrides, {{x: ['planner=knee']}}, got {systems!r}")
    return {str(name): words for name, words in systems.items()}


def _system(name: str, words: list[str], cfg: DictConfig, table: CutTable) -> Policy:
    """The policy of `midcut plan` with these words, on the model, profiles, costs and objectives of the simulation."""
    try:
        plan = compose("plan", words)
    except HydraException as error:
        raise ConfigError(f"systems.{name}: {str(error).splitlines()[0]}") from None
    with open_dict(plan):
        for key in ("edge_profile", "cloud_profile", "relay_profile", "cost", "tiers"):
            plan[key] = cfg[key]
        plan.objective = cfg.objective
    try:
        legal = legal_cuts(table, settings_of(plan, PlanConfig).cuts)
        codecs = build_measured_codecs(plan, table)
        return build_policy(plan, offered_placements(table, legal, codecs, plan.tiers, plan.accuracy_floor))
    except ConfigError as error:
        raise ConfigError(f"systems.{name}: {error}") from None


def _typed_scenario(cfg: DictConfig) -> ScenarioDrawn | ScenarioTrace:
    """The scenario as typed settings. Merged with its schema here, because a user's own YAML file may not name one."""
    given = OmegaConf.to_container(cfg.scenario, resolve=True, enum_to_str=True)
    kind = given.get("kind", ScenarioKind.drawn.value) if isinstance(given, dict) else None
    schemas = {ScenarioKind.drawn.value: ScenarioDrawn, ScenarioKind.trace.value: ScenarioTrace}
    if kind not in schemas:
        raise ConfigError(f"scenario.kind must be {' or '.join(schemas)}, got {kind!r}")
    typed = OmegaConf.merge({"scenario": OmegaConf.structured(schemas[kind])}, {"scenario": given})
    return cast("ScenarioDrawn | ScenarioTrace", OmegaConf.to_object(typed.scenario))


def parse_weights(value: Any) -> tuple[float, ...]:
    """Parse the setting `w`: a number, a list of them, or `start:stop:step` with both ends.

    Raises:
        ConfigError: it is none of these.
    """
    words = list(value) if isinstance(value, ListConfig | list | tuple) else [value]
    numbers: list[float] = []
    for word in words:
        numbers += _parse_range(word) if isinstance(word, str) and ":" in word else [_parse_weight(word)]
    return tuple(dict.fromkeys(numbers))


def _parse_range(text: str) -> list[float]:
    try:
        start, stop, step = (Decimal(part) for part in text.split(":"))
        count = int((stop - start) / step) + 1
    except (ValueError, InvalidOperation, OverflowError, ZeroDivisionError):
        raise ConfigError(f"w={text}: a range of weights is start:stop:step, e.g. 0:1:0.01") from None
    if not (step > 0 and 1 <= count <= _MAX_WEIGHTS):
        raise ConfigError(f"w={text}: a range of weights ascends in at most {_MAX_WEIGHTS - 1} steps, e.g. 0:1:0.01")
    # Decimal arithmetic gives exactly the numbers as they are written: 0.07, not 0.07000000000000001.
    return [float(start + step * number) for number in range(count)]


def _parse_weight(word: Any) -> float:
    if isinstance(word, bool) or not isinstance(word, int | float):
        raise ConfigError(f"w must be a number from 0 (fast) to 1 (cheap), a list of them, or 0:1:0.01, got {word!r}")
    if word > 1.0:
        raise ConfigError(f'w must be from 0 (fast) to 1 (cheap), got {word:g}; in YAML a range is quoted: "0:1:0.01"')
    return float(word)
