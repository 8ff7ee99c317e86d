"""Decoding untrusted image bytes to a model's input."""

from __future__ import annotations

import asyncio
import io
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from PIL import ExifTags, Image, UnidentifiedImageError

from midcut.errors import BusyError, MalformedError, OutOfMemoryError, is_exhausted
from midcut.serving.file_structure import bound_texts, check_exif, check_structure, without_exif_item
from midcut.serving.formats import formats, why_unknown
from midcut.tensors import concatenate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midcut.types import LoadedModel, Tensor

MAX_PIXELS: Final = 50_000_000
# Images up to this size are decoded without waiting for larger ones.
_SMALL_PIXELS: Final = 1_000_000
# A JPEG of more pixels is decoded at a fraction of its size, which is still this many times the model's input.
_LARGE_PIXELS: Final = 4_000_000
_DRAFT: Final = 4
# These decoders, transparency and wide pixels take up to 16 bytes a pixel instead of 5, and count as so many pixels.
_HEAVY: Final = 3
_HEAVY_FORMATS: Final = frozenset({"WEBP", "AVIF", "HEIF"})
_LIGHT_MODES: Final = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr"})
# Pillow allocates pixels in blocks. glibc gives blocks of more than 32 MB back to the system as soon as they are freed;
# smaller ones stay with the thread that freed them, so that each thread would hold a large picture's memory.
_BLOCK_BYTES: Final = 64 * 1024 * 1024
# Where a picture keeps how it is to be turned.
_ORIENTED: Final = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PixelBudget:
    """Bounds the pixels of all large images that are decoded at once; the rest wait in turn. Used on one event loop.

    Args:
        max_pixels: the most pixels at once, and of one image.
        patience_s: how long an image waits at most; None waits as long as it takes.
    """

    def __init__(self, max_pixels: int, patience_s: float | None) -> None:
        bound_texts()
        Image.core.set_block_size(_BLOCK_BYTES)  # type: ignore[attr-defined]  # Pillow documents it, without types
        self.max_pixels = max_pixels
        self._patience_s = patience_s
        self._free = max_pixels
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, pixels: int) -> Callable[[], None]:
        """Wait for room for an image's pixels, of which no more count than there are.

        Returns:
            Gives them back; to be called once, when nothing decodes or preprocesses the image any more.

        Raises:
            BusyError: there was no room in time.
        """
        pixels = min(pixels, self.max_pixels) if pixels > _SMALL_PIXELS else 0
        if pixels:
            await self._wait(pixels)
        return partial(self._give_back, pixels)

    def _give_back(self, pixels: int) -> None:
        self._free += pixels
        self._wake()

    async def _wait(self, pixels: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, turn))
        self._wake()
        try:
            async with asyncio.timeout(self._patience_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._free += pixels
            else:
                self._waiting.remove((pixels, turn))
            self._wake()
            if isinstance(error, TimeoutError):
                raise BusyError(f"this server is busy: it decodes {self.max_pixels} pixels already") from None
            raise

    def _wake(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            pixels, turn = self._waiting.popleft()
            self._free -= pixels
            turn.set_result(None)


def _weighed_pixels(image: Image.Image) -> int:
    """Pixels of an opened image, those of a heavy one threefold."""
    heavy = image.format in _HEAVY_FORMATS or image.mode not in _LIGHT_MODES or image.has_transparency_data
    return image.width * image.height * (_HEAVY if heavy else 1)


def open_image(data: bytes | bytearray | memoryview, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read an image's header; nothing is decoded.

    Raises:
        MalformedError: an unknown format, a broken header, too many pixels, or a file of too many blocks.
    """
    check_structure(data)
    try:
        image = Image.open(io.BytesIO(without_exif_item(data)), formats=formats())
    except UnidentifiedImageError:
        raise MalformedError(why_unknown(data)) from None
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise many types of errors for broken files
        raise _broken(error) from None
    if image.width * image.height > max_pixels:
        raise MalformedError(f"the image has {image.width} x {image.height} pixels, over the limit of {max_pixels}")
    return image


def read_image(
    data: bytes | bytearray, max_pixels: int = MAX_PIXELS, shape: tuple[int, ...] | None = None
) -> Image.Image:
    """Decode an image, and rotate it as its EXIF orientation says.

    Args:
        shape: of the input that it is for, ending in height and width. A much larger JPEG is decoded at a fraction of
            its size then.

    Raises:
        MalformedError: see `open_image`; also a broken image.
        OutOfMemoryError: there is no memory for it.
    """
    return _decode(open_image(data, max_pixels), shape)


def _decode(image: Image.Image, shape: tuple[int, ...] | None) -> Image.Image:
    try:
        if shape is not None and image.width * image.height > _LARGE_PIXELS:
            side = _DRAFT * max(shape[-2:])
            image.draft(None, (side, side))
        image.load()
        return upright(image)
    except MalformedError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        if is_exhausted(error):
            raise OutOfMemoryError("there is no memory to decode the image") from None
        raise _broken(error) from None


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF or XMP says. `ImageOps.exif_transpose` rewrites the EXIF too, in seconds for a MB.

    Raises:
        MalformedError: its EXIF is too large to be read, or not EXIF.
    """
    check_exif(_exif(image))
    turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for name in _ORIENTED:  # a preprocessing of the user's may turn it too
        turned.info.pop(name, None)
    image.close()  # gives its pixels back before the turned ones are preprocessed
    return turned


def _exif(image: Image.Image) -> bytes:
    """The EXIF that Pillow would read, empty where there is none; PNG files may have it as hexadecimal digits."""
    exif = image.info.get("exif")
    if exif is None and isinstance(text := image.info.get("Raw profile type exif"), str):
        try:
            return bytes.fromhex("".join(text.split("\n")[3:]))
        except ValueError:
            raise MalformedError("the image's EXIF is not hexadecimal") from None
    return bytes(exif or b"")  # some formats have None


def _broken(error: Exception) -> MalformedError:
    return MalformedError(f"the image is broken: {' '.join(str(error).split()) or type(error).__name__}")


async def decode_batch(
    model: LoadedModel, files: Sequence[bytes | bytearray | memoryview], budget: PixelBudget
) -> Tensor:
    """Decode and preprocess the pictures of a batch, one after the other. Raises like `decode_input`.

    Raises:
        MalformedError: also pictures whose preprocessed forms differ in shape.
    """
    inputs = [await decode_input(model, file, budget) for file in files]
    if len(inputs) == 1:
        return inputs[0]
    if len({value.shape for value in inputs}) > 1:
        raise MalformedError("the pictures of a batch have several shapes after preprocessing: send them one by one")
    return concatenate(inputs)


async def decode_input(model: LoadedModel, data: bytes | bytearray | memoryview, budget: PixelBudget) -> Tensor:
    """Decode and preprocess an image on a worker thread, within a budget. Raises like `model_input`, and BusyError."""
    return await decode_opened(model, await asyncio.to_thread(open_image, data, budget.max_pixels), budget)


async def decode_opened(model: LoadedModel, image: Image.Image, budget: PixelBudget) -> Tensor:
    """Decode and preprocess an image whose header is read. Raises like `decode_input`.

    Who is cancelled leaves at once; the thread goes on, and holds the image's pixels until it is done.
    """
    give_back = await budget.take(_weighed_pixels(image))
    working = asyncio.create_task(asyncio.to_thread(_preprocess, model, image), name="decode")
    working.add_done_callback(lambda _: give_back())
    return await asyncio.shield(working)


def model_input(model: LoadedModel, data: bytes | bytearray, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Decode and preprocess an image. Slow: call it on a worker thread.

    Raises:
        MalformedError: see `read_image`; also an image the model's preprocessing cannot use.
    """
    return _preprocess(model, open_image(data, max_pixels))


def _preprocess(model: LoadedModel, image: Image.Image) -> Tensor:
    try:
        return prepared_input(model, _decode(image, tuple(model.example[0].shape)))
    finally:
        image.close()  # gives its pixels back before the next large picture is decoded


def prepared_input(model: LoadedModel, decoded: Image.Image) -> Tensor:
    """Preprocess a decoded picture. Slow: call it on a worker thread.

    Raises:
        MalformedError: a picture the model's preprocessing cannot use.
        OutOfMemoryError: there is no memory for it.
    """
    try:
        return model.preprocess(decoded)
    except Exception as error:  # noqa: BLE001 - the model author's preprocessing may raise anything
        if is_exhausted(error):
            raise OutOfMemoryError(f"there is no memory to preprocess the image for {model.name}") from None
        raise MalformedError(f"the image cannot be preprocessed for {model.name}: {error}") from None
