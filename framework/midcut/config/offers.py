"""What the loaded plugins offer: components by kind and name, and observers of decisions and results."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from midcut.errors import UnknownComponentError

if TYPE_CHECKING:
    import pluggy
    from omegaconf import DictConfig

    from midcut.component import Component, Kind
    from midcut.types import Decision, InferenceResult

_MOST_NAMES = 12


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
    """A component, the plugin and the hook that offer it, and its settings as a config node."""

    kind: Kind
    component: Component
    source: Source
    hook: str
    node: DictConfig


@dataclass
class Registry:
    """Everything that the plugins of this process offer; `midcut.config.registry.registry()` returns the only one.

    Attributes:
        config_paths: (distribution, Hydra search path) of every plugin that ships presets.
        problems: one line for each plugin or component that cannot be used.
        observers: hook -> the plugins that implement it.
    """

    offers: dict[tuple[Kind, str], Offer] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    config_paths: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    observers: dict[str, list[tuple[Source, pluggy.HookImpl]]] = field(default_factory=dict)
    _failed_observers: set[tuple[Source, str]] = field(default_factory=set)

    def add(self, offer: Offer) -> None:
        """Add a component, unless another plugin offers one of the same kind and name: then note a problem."""
        name = offer.component.name
        first = self.offers.setdefault((offer.kind, name), offer)
        if first is not offer:
            self.problems.append(
                f"{offer.kind} {name!r} is offered twice: by {first.source}, which is used, and by {offer.source}"
            )

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for offered_kind, name in self.offers if offered_kind is kind)

    def targets(self, kind: Kind) -> set[str]:
        return {offer.component.target for (offered_kind, _), offer in self.offers.items() if offered_kind is kind}

    def unknown(self, kind: Kind, name: str, presets: tuple[str, ...] = ()) -> UnknownComponentError:
        """The error for an unregistered name; it lists the registered names by distribution, and suggests one."""
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
        """Call every observer of decisions."""
        self._notify("midcut_decided", decision=decision)

    def inferred(self, result: InferenceResult) -> None:
        """Call every observer of answered requests."""
        self._notify("midcut_inferred", result=result)

    def _notify(self, hook: str, **arguments: Any) -> None:
        for source, implementation in self.observers.get(hook, ()):
            try:
                implementation.function(**{name: arguments[name] for name in implementation.argnames})
            except Exception as error:  # noqa: BLE001 - an observer must not cost an inference
                if (source, hook) not in self._failed_observers:
                    self._failed_observers.add((source, hook))
                    import structlog  # noqa: PLC0415 - `--help` loads the registry and needs no logger

                    structlog.get_logger("midcut.config.registry").warning(
                        "observer failed; its further failures are not logged",
                        plugin=str(source),
                        hook=hook,
                        error=f"{type(error).__name__}: {error}",
                    )


def _listed(names: list[str]) -> str:
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_NAMES])}, ... ({len(names)} in all; see `midcut plugins`)"
