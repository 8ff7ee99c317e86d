"""Finds plugins, asks them once what they offer, and says by name and distribution what is wrong with one.

A broken plugin costs what it offers, never the run: its problem is printed once, listed by
`midcut plugins`, and repeated when somebody asks for a component that may have been its.
"""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pluggy
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from midcut import hookspecs
from midcut.component import Component, Kind
from midcut.errors import PluginError, UnknownComponentError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from midcut.types import Decision, InferenceResult

ENTRY_POINTS = "midcut"
OWN_DISTRIBUTION = "midcut"
DISABLE_ENV = "MIDCUT_DISABLE_PLUGINS"

_HOOK_KINDS = {
    "midcut_models": Kind.MODEL,
    "midcut_telemetry_sources": Kind.TELEMETRY,
    "midcut_cost_models": Kind.COST,
    "midcut_planners": Kind.PLANNER,
    "midcut_transports": Kind.TRANSPORT,
    "midcut_executors": Kind.EXECUTOR,
    "midcut_codecs": Kind.CODEC,
}
_ROLE_KINDS = {
    "edge": Kind.EDGE_PREDICTOR,
    "link": Kind.LINK_PREDICTOR,
    "cloud": Kind.CLOUD_PREDICTOR,
}
_PREDICTORS = "midcut_latency_predictors"
_CONFIG_PATH = "midcut_config_path"
_OBSERVERS = ("midcut_decided", "midcut_inferred")
HOOKS = (*_HOOK_KINDS, _PREDICTORS, _CONFIG_PATH, *_OBSERVERS)


@dataclass(frozen=True)
class Source:
    """Where a plugin came from."""

    plugin: str
    distribution: str
    version: str
    hooks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} of {self.distribution} {self.version}"


@dataclass(frozen=True)
class Offer:
    """A component, who offers it through which hook, and its knobs as a config node."""

    kind: Kind
    component: Component
    source: Source
    hook: str
    node: DictConfig


@dataclass
class Registry:
    """What there is. Made once by `registry()`."""

    offers: dict[tuple[Kind, str], Offer] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    config_paths: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _observers: dict[str, list[tuple[Source, Callable[..., None], tuple[str, ...]]]] = field(default_factory=dict)
    _silenced: set[tuple[Source, str]] = field(default_factory=set)

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for of_kind, name in self.offers if of_kind is kind)

    def targets(self, kind: Kind) -> set[str]:
        return {offer.component.target for (of_kind, _), offer in self.offers.items() if of_kind is kind}

    def unknown(self, kind: Kind, name: str, presets: tuple[str, ...] = ()) -> UnknownComponentError:
        """The error for a name nobody registered: what was asked, what there is, from whom."""
        by_distribution: dict[str, list[str]] = {}
        for known in self.names(kind):
            by_distribution.setdefault(self.offers[kind, known].source.distribution, []).append(known)
        close = difflib.get_close_matches(name, [*self.names(kind), *presets], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ";"
        offered = "; ".join(f"{dist} offers {_listed(names)}" for dist, names in sorted(by_distribution.items()))
        offered += f"; presets: {_listed(sorted(presets))}" if presets else ""
        broken = f" (not loaded: {'; '.join(self.problems)})" if self.problems else ""
        return UnknownComponentError(f"no {kind} is named {name!r}{hint} {offered}{broken}".replace("  ", " "))

    def decided(self, decision: Decision) -> None:
        """Tell every observer of decisions."""
        self._tell("midcut_decided", decision=decision)

    def inferred(self, result: InferenceResult) -> None:
        """Tell every observer of answered requests."""
        self._tell("midcut_inferred", result=result)

    def _tell(self, hook: str, **arguments: Any) -> None:
        for source, function, wanted in self._observers.get(hook, ()):
            try:
                function(**{name: arguments[name] for name in wanted})
            except Exception as error:  # noqa: BLE001 - an observer must not cost an inference
                if (source, hook) not in self._silenced:
                    self._silenced.add((source, hook))
                    import structlog  # noqa: PLC0415 - `--help` loads the registry and needs no logger

                    structlog.get_logger("midcut.config.registry").warning(
                        "observer failed; its further failures are not logged",
                        plugin=str(source),
                        hook=hook,
                        error=f"{type(error).__name__}: {error}",
                    )


@functools.cache
def registry() -> Registry:
    """Load every plugin once, in this process."""
    return load(_entry_points(), os.environ.get(DISABLE_ENV, ""))


def load(entry_points: list[importlib.metadata.EntryPoint], disabled: str = "") -> Registry:
    """Build a registry from entry points.

    Args:
        entry_points: of the group `midcut`; the built-in ones may be among them.
        disabled: `all` leaves out every third-party plugin; otherwise a comma list of plugin or
            distribution names. Built-in plugins cannot be left out.
    """
    found = Registry()
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    left_out = {name.strip() for name in disabled.split(",") if name.strip()}
    for entry_point in entry_points:
        source = _source(entry_point)
        third_party = source.distribution != OWN_DISTRIBUTION
        if third_party and left_out & {"all", source.plugin, source.distribution}:
            continue
        try:
            _register(found, manager, entry_point, source)
        except PluginError as error:
            found.problems.append(str(error))
    return found


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return sorted(
        found, key=lambda ep: (_source(ep).distribution != OWN_DISTRIBUTION, _source(ep).distribution, ep.name)
    )


def _source(entry_point: importlib.metadata.EntryPoint) -> Source:
    dist = entry_point.dist
    return Source(entry_point.name, dist.name if dist else "unknown", dist.version if dist else "?")


def _register(
    found: Registry, manager: pluggy.PluginManager, entry_point: importlib.metadata.EntryPoint, source: Source
) -> None:
    try:
        plugin = entry_point.load()
    except Exception as error:
        raise PluginError(f"{source} does not load: {type(error).__name__}: {error}") from error
    _check_spelling(manager, plugin, source)
    unique = f"{source.distribution}:{source.plugin}"
    if manager.has_plugin(unique):
        raise PluginError(
            f"{source} is registered twice: {source.distribution} names two entry points {source.plugin!r}"
        )
    try:
        manager.register(plugin, name=unique)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{source}: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise PluginError(
            f"{source}: the module {entry_point.value} is already registered by another plugin"
        ) from error
    implementations = {
        name: implementation
        for name in HOOKS
        for implementation in getattr(manager.hook, name).get_hookimpls()
        if implementation.plugin_name == unique
    }
    source = Source(source.plugin, source.distribution, source.version, tuple(implementations))
    if not implementations:
        raise PluginError(f"{source} implements no hook; there are: {', '.join(HOOKS)}")
    for hook, impl in implementations.items():
        if impl.wrapper or impl.hookwrapper:
            raise PluginError(f"{source}: {hook} is a hook wrapper; midcut's hooks take plain implementations only")
    answers = _ask(source, {name: impl.function for name, impl in implementations.items() if name not in _OBSERVERS})
    found.sources.append(source)
    _take(found, source, answers)
    for hook in _OBSERVERS:
        if hook in implementations:
            impl = implementations[hook]
            found._observers.setdefault(hook, []).append((source, impl.function, tuple(impl.argnames)))  # noqa: SLF001


def _check_spelling(manager: pluggy.PluginManager, plugin: object, source: Source) -> None:
    for name, member in inspect.getmembers(plugin, inspect.isroutine):
        marked = manager.parse_hookimpl_opts(plugin, name) is not None
        if marked and name not in HOOKS:
            close = difflib.get_close_matches(name, HOOKS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(HOOKS)}"
            raise PluginError(f"{source}: {name!r} is not a midcut hook; {hint}")
        if not marked and name in HOOKS and getattr(member, "__module__", "") == getattr(plugin, "__name__", None):
            raise PluginError(f"{source}: {name!r} is not marked: put @midcut.hookimpl above it")


def _ask(source: Source, hooks: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    answers = {}
    for hook, function in hooks.items():
        try:
            answers[hook] = function()
        except Exception as error:
            raise PluginError(f"{source}: {hook} failed: {type(error).__name__}: {error}") from error
    return answers


def _take(found: Registry, source: Source, answers: Mapping[str, Any]) -> None:
    nodes: dict[tuple[int, str], DictConfig] = {}
    for hook, answer in answers.items():
        if hook == _CONFIG_PATH:
            if not isinstance(answer, str) or "://" not in answer:
                raise PluginError(f"{source}: {hook} must return a Hydra search path: 'pkg://my.conf', got {answer!r}")
            found.config_paths.append((source.distribution, answer))
            continue
        for kind, component in _components(hook, answer, source):
            # Eighty models share one config; making a node for each would take longer than all of `--help` may.
            key = (id(component.config), component.target)
            try:
                node = nodes[key] if key in nodes else nodes.setdefault(key, _node(component))
            except OmegaConfBaseException as error:
                first = str(error).strip().splitlines()[0]
                found.problems.append(
                    f"{source}: the config of {kind} {component.name!r}, {_name(component.config)}, "
                    f"cannot be a Hydra config: {first}"
                )
                continue
            _add(found, Offer(kind, component, source, hook, node))


def _components(hook: str, answer: Any, source: Source) -> Iterator[tuple[Kind, Component]]:
    if hook == _PREDICTORS:
        if not isinstance(answer, Mapping) or not set(answer) <= set(_ROLE_KINDS):
            raise PluginError(f"{source}: {hook} must return a mapping with keys among {', '.join(_ROLE_KINDS)}")
        by_kind = [(_ROLE_KINDS[role], components) for role, components in answer.items()]
    else:
        by_kind = [(_HOOK_KINDS[hook], answer)]
    for kind, components in by_kind:
        if not isinstance(components, list | tuple) or not all(isinstance(one, Component) for one in components):
            raise PluginError(f"{source}: {hook} must return a list of midcut.Component, got {components!r}")
        for component in components:
            yield kind, component


def _node(component: Component) -> DictConfig:
    node: DictConfig = OmegaConf.structured(component.config)
    OmegaConf.set_readonly(node, value=None)  # a frozen dataclass gives knobs that nobody could set
    with open_dict(node):
        node["_target_"] = component.target
    return node


def _name(config: Any) -> str:
    return config.__name__ if isinstance(config, type) else type(config).__name__


def _add(found: Registry, offer: Offer) -> None:
    key = (offer.kind, offer.component.name)
    first = found.offers.get(key)
    if first is not None:
        found.problems.append(
            f"{offer.kind} {offer.component.name!r} is offered twice: "
            f"by {first.source}, which is used, and by {offer.source}"
        )
        return
    found.offers[key] = offer


def _listed(names: list[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all; see `midcut plugins`)"
