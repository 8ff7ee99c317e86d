"""Loads one version of a model from a file of weights, beside the requests that a cloud answers."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
from omegaconf import OmegaConf

from midcut.cloud.capturing import CaptureOutcome, CaptureRequest
from midcut.cloud.version import HostedVersion
from midcut.component import Kind
from midcut.config.build import build
from midcut.config.composition import compose
from midcut.config.registry import registry
from midcut.errors import MidcutError, RepositoryError
from midcut.graph.assembly import partition, partition_from_cache

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

    from midcut.config.settings import CutSettings
    from midcut.types import LoadedModel


class VersionLoader:
    """Makes versions. All methods except `close` block.

    Args:
        nodes: the configs of the models that were chosen at start, by name of the component.
        titles: name of a loaded model -> name of its component.
        cuts: which cuts are on offer, and the cache of captured models.
        threads: torch's, on the thread that calls.
        timeout_s: how long a capture may take.
    """

    def __init__(
        self, nodes: DictConfig, titles: dict[str, str], cuts: CutSettings, threads: int, timeout_s: float
    ) -> None:
        self._nodes, self._titles, self._cuts = nodes, titles, cuts
        self._threads, self._timeout_s = threads, timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def capture(self, name: str, file: Path) -> CaptureOutcome:
        """Capture a model in a process of its own, which leaves the graph in the cache.

        Raises:
            RepositoryError: it cannot be captured; the message says why.
        """
        component, node = self._component(name, file)
        settings: Any = OmegaConf.to_container(node, resolve=True, enum_to_str=True)
        request = CaptureRequest(component, settings, self._cuts, self._threads)
        command = [sys.executable, "-m", "midcut.cloud.capturing"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - ours
            self._process = process
            if self._closed:
                process.kill()
            try:
                written, _ = process.communicate(msgspec.json.encode(request), self._timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise RepositoryError(f"capturing took longer than repository.timeout_s={self._timeout_s:g}") from None
            finally:
                self._process = None
        if process.returncode:
            raise RepositoryError(f"the process that captures ended with status {process.returncode}; see its log")
        outcome = msgspec.json.decode(written.splitlines()[-1], type=CaptureOutcome)
        if outcome.error:
            raise RepositoryError(outcome.error)
        return outcome

    def load(self, name: str, file: Path, *, trace: bool = False) -> HostedVersion:
        """Make a version.

        Args:
            trace: capture the model's graph in this process. Allowed only before the cloud answers requests.

        Raises:
            RepositoryError: it cannot be loaded; the message says why.
        """
        component, node = self._component(name, file)
        try:
            model: LoadedModel = build(Kind.MODEL, node, name=component).load()
            parts = partition(model, self._cuts) if trace else partition_from_cache(model, self._cuts)
        except MidcutError as error:
            raise RepositoryError(str(error)) from error
        if model.name != name:
            raise RepositoryError(f"component {component} makes a model {model.name!r}, not {name!r}")
        if parts is None:
            raise RepositoryError(
                f"the captured graph of {model.name!r} cannot be kept in cuts.cache, and no model is traced while "
                "requests run: restart the cloud, which loads the whole repository"
            )
        return HostedVersion(parts, model)

    def close(self) -> None:
        """End a capture that is under way."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()

    def _component(self, name: str, file: Path) -> tuple[str, Any]:
        """Name of the component that makes a model, and its config with the file as weights.

        Raises:
            RepositoryError: there is none, or it takes no file.
        """
        component = self._titles.get(name, name)
        if component in self._nodes:
            node = self._nodes[component]
        elif (Kind.MODEL, component) in registry().offers:
            node = compose("cloud", [f"model=[{component}]"]).model[component]
        else:
            raise RepositoryError(
                f"{name!r} is not listed by `midcut plugins --kind model`, and no model in model= has this name"
            )
        if "weights" not in node:
            raise RepositoryError(f"model {name!r} takes no file of weights")
        return component, OmegaConf.merge(node, {"weights": str(file)})
