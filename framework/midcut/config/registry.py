"""Loads the plugins: asks each once what it offers, and names plugin and distribution where one is wrong.

A broken plugin costs only what it would have offered, never the run. Its problem is printed once, listed by
`midcut plugins`, and repeated in the error for an unknown component, which may have been one of its own.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.metadata
import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pluggy
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from midcut import hookspecs
from midcut.component import Component, Kind
from midcut.config.offers import Offer, Registry, Source
from midcut.errors import PluginError
from midcut.fields import ObservationField, add_field

if TYPE_CHECKING:
    from omegaconf import DictConfig

ENTRY_POINTS = "midcut"
OWN_DISTRIBUTION = "midcut"
DISABLE_ENV = "MIDCUT_DISABLE_PLUGINS"

_HOOK_KINDS = {
    "midcut_models": Kind.MODEL,
    "midcut_telemetry_sources": Kind.TELEMETRY,
    "midcut_cost_models": Kind.COST,
    "midcut_objectives": Kind.OBJECTIVE,
    "midcut_planners": Kind.PLANNER,
    "midcut_transports": Kind.TRANSPORT,
    "midcut_executors": Kind.EXECUTOR,
    "midcut_codecs": Kind.CODEC,
    "midcut_tasks": Kind.TASK,
    "midcut_inputs": Kind.INPUT,
    "midcut_outputs": Kind.OUTPUT,
}
_ROLE_KINDS = {
    "edge": Kind.EDGE_PREDICTOR,
    "link": Kind.LINK_PREDICTOR,
    "cloud": Kind.CLOUD_PREDICTOR,
}
_PREDICTORS = "midcut_latency_predictors"
_FIELDS = "midcut_observation_fields"
_CONFIG_PATH = "midcut_config_path"
_OBSERVERS = ("midcut_decided", "midcut_inferred")
HOOKS = (*_HOOK_KINDS, _PREDICTORS, _FIELDS, _CONFIG_PATH, *_OBSERVERS)


@functools.cache
def registry() -> Registry:
    """Load every installed plugin, once in this process."""

    def own_first(entry_point: importlib.metadata.EntryPoint) -> tuple[bool, str, str]:
        source = _source(entry_point)
        return source.distribution != OWN_DISTRIBUTION, source.distribution, source.plugin

    entry_points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return load(sorted(entry_points, key=own_first), os.environ.get(DISABLE_ENV, ""))


def load(entry_points: list[importlib.metadata.EntryPoint], disabled: str = "") -> Registry:
    """Build a registry from entry points.

    Args:
        entry_points: of the group `midcut`; the built-in ones may be among them.
        disabled: `all` leaves out every third-party plugin; otherwise a comma list of plugin or
            distribution names. Built-in plugins cannot be left out.
    """
    loaded = Registry()
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    left_out = {name.strip() for name in disabled.split(",") if name.strip()}
    for entry_point in entry_points:
        source = _source(entry_point)
        third_party = source.distribution != OWN_DISTRIBUTION
        if third_party and left_out & {"all", source.plugin, source.distribution}:
            continue
        try:
            _load_plugin(loaded, manager, entry_point, source)
        except PluginError as error:
            loaded.problems.append(str(error))
    return loaded


def _source(entry_point: importlib.metadata.EntryPoint) -> Source:
    dist = entry_point.dist
    return Source(entry_point.name, dist.name if dist else "unknown", dist.version if dist else "?")


def _load_plugin(
    loaded: Registry, manager: pluggy.PluginManager, entry_point: importlib.metadata.EntryPoint, source: Source
) -> None:
    """Add to the registry what one plugin offers.

    Raises:
        PluginError: the plugin cannot be used.
    """
    implementations = _implementations(manager, entry_point, source)
    source = replace(source, hooks=tuple(implementations))
    answers = {}
    for hook in [name for name in implementations if name not in _OBSERVERS]:
        try:
            answers[hook] = implementations[hook].function()
        except Exception as error:
            raise PluginError(f"{source}: {hook} failed: {type(error).__name__}: {error}") from error
    loaded.sources.append(source)
    _add_answers(loaded, source, answers)
    for hook in [name for name in _OBSERVERS if name in implementations]:
        loaded.observers.setdefault(hook, []).append((source, implementations[hook]))


def _implementations(
    manager: pluggy.PluginManager, entry_point: importlib.metadata.EntryPoint, source: Source
) -> dict[str, pluggy.HookImpl]:
    """Import a plugin and check its hooks; returns hook -> the plugin's implementation."""
    try:
        plugin = entry_point.load()
    except Exception as error:
        raise PluginError(f"{source} does not load: {type(error).__name__}: {error}") from error
    _check_hook_names(manager, plugin, source)
    unique_name = f"{source.distribution}:{source.plugin}"
    if manager.has_plugin(unique_name):
        raise PluginError(
            f"{source} is registered twice: {source.distribution} names two entry points {source.plugin!r}"
        )
    try:
        manager.register(plugin, name=unique_name)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{source}: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise PluginError(
            f"{source}: the module {entry_point.value} is already registered by another plugin"
        ) from error
    implementations = {
        hook: implementation
        for hook in HOOKS
        for implementation in getattr(manager.hook, hook).get_hookimpls()
        if implementation.plugin_name == unique_name
    }
    if not implementations:
        raise PluginError(f"{source} implements no hook; there are: {', '.join(HOOKS)}")
    for hook, implementation in implementations.items():
        if implementation.wrapper or implementation.hookwrapper:
            raise PluginError(f"{source}: {hook} is a hook wrapper; midcut's hooks take plain implementations only")
    return implementations


def _check_hook_names(manager: pluggy.PluginManager, plugin: object, source: Source) -> None:
    """Refuse a marked function that is no hook of midcut's, and a function named as a hook that is not marked."""
    for name, member in inspect.getmembers(plugin, inspect.isroutine):
        marked = manager.parse_hookimpl_opts(plugin, name) is not None
        if marked and name not in HOOKS:
            close = difflib.get_close_matches(name, HOOKS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(HOOKS)}"
            raise PluginError(f"{source}: {name!r} is not a midcut hook; {hint}")
        if not marked and name in HOOKS and getattr(member, "__module__", "") == getattr(plugin, "__name__", None):
            raise PluginError(f"{source}: {name!r} is not marked: put @midcut.hookimpl above it")


def _add_answers(loaded: Registry, source: Source, answers: Mapping[str, Any]) -> None:
    """Add what a plugin's hooks returned: components as offers, and its folder of presets."""
    nodes: dict[tuple[int, str], DictConfig] = {}
    for hook, answer in answers.items():
        if hook == _CONFIG_PATH:
            if not isinstance(answer, str) or "://" not in answer:
                raise PluginError(f"{source}: {hook} must return a Hydra search path: 'pkg://my.conf', got {answer!r}")
            loaded.config_paths.append((source.distribution, answer))
            continue
        if hook == _FIELDS:
            _add_fields(loaded, source, answer)
            continue
        for kind, component in _components(hook, answer, source):
            # Eighty models share one config class. A node for each would take longer than `--help` may.
            key = (id(component.config), component.target)
            try:
                node = nodes[key] if key in nodes else nodes.setdefault(key, _config_node(component))
            except OmegaConfBaseException as error:
                config = component.config if isinstance(component.config, type) else type(component.config)
                loaded.problems.append(
                    f"{source}: the config of {kind} {component.name!r}, {config.__name__}, "
                    f"cannot be a Hydra config: {str(error).strip().splitlines()[0]}"
                )
                continue
            loaded.add(Offer(kind, component, source, hook, node))


def _add_fields(loaded: Registry, source: Source, answer: Any) -> None:
    if not isinstance(answer, list | tuple) or not all(isinstance(item, ObservationField) for item in answer):
        raise PluginError(f"{source}: {_FIELDS} must return a list of midcut.fields.ObservationField, got {answer!r}")
    loaded.problems += [
        f"{source}: the observation field {field.name!r} exists already, with another unit or bound"
        for field in answer
        if not add_field(field)
    ]


def _components(hook: str, answer: Any, source: Source) -> Iterator[tuple[Kind, Component]]:
    """Check the type of a hook's answer, and give each component with its kind."""
    if hook == _PREDICTORS:
        if not isinstance(answer, Mapping) or not set(answer) <= set(_ROLE_KINDS):
            raise PluginError(f"{source}: {hook} must return a mapping with keys among {', '.join(_ROLE_KINDS)}")
        by_kind = [(_ROLE_KINDS[role], components) for role, components in answer.items()]
    else:
        by_kind = [(_HOOK_KINDS[hook], answer)]
    for kind, components in by_kind:
        if not isinstance(components, list | tuple) or not all(isinstance(item, Component) for item in components):
            raise PluginError(f"{source}: {hook} must return a list of midcut.Component, got {components!r}")
        for component in components:
            yield kind, component


def _config_node(component: Component) -> DictConfig:
    node: DictConfig = OmegaConf.structured(component.config)
    OmegaConf.set_readonly(node, value=None)  # OmegaConf makes the settings of a frozen dataclass read-only
    with open_dict(node):
        node["_target_"] = component.target
    for field in dataclasses.fields(component.config):
        if str(field.type).startswith("dict["):  # a setting that is a dict takes any keys, without Hydra's leading `+`
            # `node[...]` gives no node where the default is None or MISSING.
            OmegaConf.set_struct(node._get_node(field.name), value=False)  # type: ignore[arg-type]  # noqa: SLF001
    return node
