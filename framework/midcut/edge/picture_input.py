"""An input that came as the file of a picture: sent as it is, or decoded when it is first needed."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from midcut.serving.images import decode_opened, open_image
from midcut.types import TailRequest

if TYPE_CHECKING:
    from typing import Self

    from PIL import Image

    from midcut.serving.images import PixelBudget
    from midcut.types import LoadedModel, Tensor


class PictureInput:
    """The file of one picture, for a model that takes one picture. Used on one event loop.

    Attributes:
        data: the bytes of the picture's file.
        file_format: name of the file's format in Pillow, e.g. `JPEG`.
        decode_s: seconds of decoding and preprocessing here; 0 before that.
    """

    def __init__(
        self, model: LoadedModel, data: bytes | bytearray | memoryview, image: Image.Image, budget: PixelBudget
    ) -> None:
        self.data = data
        self.file_format = "JPEG" if image.format == "MPO" else str(image.format)
        self.decode_s = 0.0
        self._model, self._image, self._budget = model, image, budget
        self._decoding: asyncio.Task[Tensor] | None = None

    @classmethod
    async def open(cls, model: LoadedModel, data: bytes | bytearray | memoryview, budget: PixelBudget) -> Self:
        """Read the header only.

        Raises:
            MalformedError: an unknown format, a broken header, or too many pixels.
        """
        return cls(model, data, await asyncio.to_thread(open_image, data, budget.max_pixels), budget)

    async def tensor(self) -> Tensor:
        """Decode and preprocess, once, whoever asks.

        Raises:
            MalformedError: the picture is broken, or the model cannot use it.
            BusyError: there was no room for its pixels in time.
            OutOfMemoryError: there is no memory for it.
        """
        if self._decoding is None:
            self._decoding = asyncio.create_task(self._decode(), name="decode")
        return await asyncio.shield(self._decoding)

    async def _decode(self) -> Tensor:
        began = perf_counter()
        value = await decode_opened(self._model, self._image, self._budget)
        self.decode_s = perf_counter() - began
        return value


class FileRequest(TailRequest, frozen=True):
    """A request with the file of a picture as its payload; the edge decodes it only where it must finish itself."""

    picture: PictureInput | None = None
