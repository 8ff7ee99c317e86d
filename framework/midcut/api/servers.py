"""An edge and a cloud within a Python program, as async context managers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from omegaconf import OmegaConf

from midcut.api.composing import compose
from midcut.cloud.assembly import assemble as assemble_cloud
from midcut.config.settings import InputServer
from midcut.edge.assembly import assemble as assemble_edge
from midcut.edge.frontend.answers import answer_fields
from midcut.edge.frontend.server import app_of
from midcut.edge.picture_input import PictureInput
from midcut.errors import ConfigError
from midcut.serving import Served
from midcut.serving.images import PixelBudget
from midcut.types import Placement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from omegaconf import DictConfig

    from midcut.api.cutting import CutModel
    from midcut.cloud.assembly import AssembledCloud
    from midcut.config.settings import CutSettings
    from midcut.edge.assembly import AssembledEdge
    from midcut.graph import Partition
    from midcut.types import Decision, InferenceResult, LoadedModel


class Cloud:
    """A cloud in this process, as `midcut cloud OVERRIDES` is one in its own.

    Args:
        overrides: as on the command line, e.g. `"model=mnist"`, `"server.port=0"` for a free port.
        models: cut models of this program, in place of those that `model=` names; `cuts.*` holds for them too.

    Attributes:
        url: its address, once it is entered.

    Raises:
        ConfigError: on entering: an override is not possible, or it cannot listen there.
    """

    def __init__(self, *overrides: str, models: Sequence[CutModel] = ()) -> None:
        self._overrides, self._models = overrides, models
        self._stack = AsyncExitStack()
        self.url = ""

    async def __aenter__(self) -> Self:
        cfg = (await asyncio.to_thread(compose, "cloud", self._overrides))[0]
        given = {net.loaded.name: await _given(net, cfg) for net in self._models}
        async with AsyncExitStack() as stack:
            assembling = assemble_cloud(cfg, given)
            # Loading a model takes seconds, in which this program's event loop should go on.
            cloud: AssembledCloud = await asyncio.to_thread(assembling.__enter__)
            stack.push_async_callback(asyncio.to_thread, assembling.__exit__, None, None, None)
            served = Served(cloud.app, cloud.server)
            stack.push_async_callback(served.stop)
            self.url = await served.url()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()


class Edge:
    """An edge in this process, as `midcut edge OVERRIDES` is one in its own.

    Args:
        overrides: as on the command line, e.g. `"model=mnist"`, `"planner.w=0.3"`, `"cloud_url=http://cloud:8700"`.
        model: a cut model of this program, in place of the one that `model=` names; `cuts.*` holds for it too.
        serve: also answer over HTTP, at `url`; the settings are those of `input=server`.

    Attributes:
        url: its address, once it is entered, with `serve`.

    Raises:
        ConfigError: on entering: an override is not possible, or it cannot listen there.
    """

    def __init__(self, *overrides: str, model: CutModel | None = None, serve: bool = False) -> None:
        self._overrides, self._model, self._serve = overrides, model, serve
        self._stack = AsyncExitStack()
        self._assembled: AssembledEdge | None = None
        self._pixels: PixelBudget | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        cfg = (await asyncio.to_thread(compose, "edge", self._overrides))[0]
        settings = OmegaConf.to_object(cfg.input)
        if not isinstance(settings, InputServer):
            raise ConfigError("midcut.Edge takes inputs from Python and over HTTP: leave input=server")
        if cfg.output:
            names = ", ".join(map(str, cfg.output))
            raise ConfigError(f"midcut.Edge returns its results to Python and over HTTP: leave out output={names}")
        if cfg.server.enabled:
            raise ConfigError("server.enabled=true is for streams: midcut.Edge(serve=True) serves, with input.*")
        given = None if self._model is None else await _given(self._model, cfg)
        assembled = await asyncio.to_thread(assemble_edge, cfg, given)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(assembled.engine.close)
            await assembled.engine.start()
            if self._serve:
                served = Served(app_of(assembled, settings), settings)
                stack.push_async_callback(served.stop)
                self.url = await served.url()
            self._stack = stack.pop_all()
        self._assembled = assembled
        self._pixels = PixelBudget(settings.max_pixels, settings.body_timeout_s)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    @property
    def decision(self) -> Decision:
        """The decision that the next request will use."""
        return self._edge.engine.decision

    async def infer(
        self,
        *inputs: torch.Tensor,
        cut: int | None = None,
        codec: str = "raw",
        deadline_s: float | None = None,
    ) -> InferenceResult:
        """Run the model on tensors.

        Args:
            inputs: the model's positional inputs.
            cut, codec: used in place of the planner's choice, for comparisons.
            deadline_s: seconds until the answer is due; the edge finishes it alone if the cloud would be late.

        Raises:
            MalformedError: the inputs do not fit the model, or the cut or codec is not on offer.
        """
        placement = None if cut is None else Placement(cut, codec)
        return await self._edge.engine.infer(inputs, deadline_s=deadline_s, placement=placement)

    async def classify(self, image: bytes | str | Path) -> dict[str, Any]:
        """Run the model on an image, and answer by its task.

        Args:
            image: a file of any format that is read over HTTP too, or its bytes.

        Returns:
            the fields of the answer, such as `class`, `label` and `top5` of a classifier, and `result`, an
            `InferenceResult`.

        Raises:
            MalformedError: it is no image.
            OSError: the file cannot be read.
        """
        data = image if isinstance(image, bytes) else await asyncio.to_thread(Path(image).read_bytes)
        edge = self._edge
        picture = await PictureInput.open(edge.model, data, cast("PixelBudget", self._pixels))
        result = await edge.engine.infer(picture)
        answer = await asyncio.to_thread(answer_fields, edge.model, result.output)
        return {**answer, "result": result}

    @property
    def _edge(self) -> AssembledEdge:
        if self._assembled is None:
            raise ConfigError("an edge answers within `async with midcut.Edge(...) as edge:`")
        return self._assembled


async def _given(net: CutModel, cfg: DictConfig) -> tuple[LoadedModel, Partition]:
    """A model of this program, with its cuts as the config wants them."""
    return net.loaded, await asyncio.to_thread(net.partition_with, cast("CutSettings", OmegaConf.to_object(cfg.cuts)))
