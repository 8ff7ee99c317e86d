"""The arithmetic of the codecs for pictures.

The coded form: four bytes with the length of the file, the number of values of each channel minus 1 (one byte each),
the float32 values of all channels in ascending order, and the file: the pictures of a batch one below the other.
A channel with the number 0 has two floats in the table, the smallest value and the step of 256 even levels.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from midcut.errors import MalformedError
from midcut.tensors import from_numpy, tensor_from_bytes, to_numpy

if TYPE_CHECKING:
    from midcut.types import Tensor

_MODES: Final = {1: "L", 3: "RGB"}
_LEVELS: Final = 256
_STEPS: Final = 65_536
_LENGTH: Final = struct.Struct("<I")
_RANGE: Final = 0
"""In place of the number of values: the table has two, the ends of a range."""


def levels_to_file(value: Tensor, file_format: str, options: dict[str, int | bool]) -> tuple[bytes, ...] | None:
    """Encode a tensor whose channels have at most 256 different values each; None for any other tensor."""
    planes = to_numpy(value)
    pixels = np.empty(planes.shape, np.uint8)
    tables = []
    for channel in range(planes.shape[1]):
        plane = planes[:, channel]
        found = _levels(plane)
        if found is None:
            return None
        table, pixels[:, channel] = found
        tables.append(table)
    return _pack([len(table) - 1 for table in tables], tables, pixels, file_format, options)


def range_to_file(value: Tensor, file_format: str, options: dict[str, int | bool]) -> tuple[bytes, ...] | None:
    """Encode a tensor by 256 even steps of each channel's range; None where a range is not finite."""
    planes = to_numpy(value)
    low, high = planes.min(axis=(0, 2, 3)), planes.max(axis=(0, 2, 3))
    with np.errstate(over="ignore"):
        is_held = np.isfinite(low).all() and np.isfinite(high - low).all()
    if not is_held:
        return None
    step = ((high.astype(np.float64) - low) / (_LEVELS - 1)).astype(np.float32)
    scale = np.where(step > 0, step, 1).reshape(1, -1, 1, 1)
    pixels = np.rint((planes - low.reshape(1, -1, 1, 1)) / scale).clip(0, _LEVELS - 1).astype(np.uint8)
    tables = [np.array(ends, np.float32) for ends in zip(low, step, strict=True)]
    return _pack([_RANGE] * len(tables), tables, pixels, file_format, options)


def from_file(data: memoryview, shape: tuple[int, ...], file_format: str, dim_order: tuple[int, ...] | None) -> Tensor:
    """Restore a tensor of a shape (batch, channels, height, width).

    Raises:
        MalformedError: this is not the coded form of such a tensor.
    """
    batch, channels, height, width = shape
    kinds = np.frombuffer(data[_LENGTH.size : _LENGTH.size + channels], np.uint8)
    sizes = [2 if kind == _RANGE else int(kind) + 1 for kind in kinds]
    begin = _LENGTH.size + channels + 4 * sum(sizes)
    if len(kinds) < channels or data.nbytes <= begin:
        raise MalformedError(f"{data.nbytes} bytes are too few for a picture of {channels} channels and its values")
    if _LENGTH.unpack(data[: _LENGTH.size])[0] != data.nbytes - begin:
        raise MalformedError("the picture's length is not the one that is stated")
    tables = np.split(np.frombuffer(data[_LENGTH.size + channels : begin], "<f4"), np.cumsum(sizes)[:-1])
    pixels = _read(data[begin:], (width, batch * height), _MODES[channels], file_format)
    pixels = pixels.reshape(batch, height, width, channels)
    planes = np.empty(shape, np.float32)
    for channel, (kind, table) in enumerate(zip(kinds, tables, strict=True)):
        plane = pixels[..., channel]
        if kind == _RANGE:
            if not np.isfinite(table).all():
                raise MalformedError("the range of a picture's values is not finite")
            planes[:, channel] = plane * table[1] + table[0]
        elif int(plane.max()) >= len(table):
            raise MalformedError(f"a pixel has value {int(plane.max())} of {len(table)}")
        else:
            planes[:, channel] = table[plane]
    if dim_order is None:
        return from_numpy(planes)
    if sorted(dim_order) != list(range(planes.ndim)):
        raise MalformedError(f"the dim order {list(dim_order)[:8]} is not one of four dimensions")
    physical = np.ascontiguousarray(planes.transpose(dim_order))
    return tensor_from_bytes(memoryview(physical.tobytes()), "float32", shape, dim_order)


def _levels(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The different values in ascending order, at least two, and the number of each element's among them.

    None where they are more than 256, not finite, or too close to be told apart by 65,536 even steps. Without sorting:
    that would take most of the codec's time.
    """
    low, high = float(plane.min()), float(plane.max())
    if not np.isfinite([low, high]).all():
        return None
    with np.errstate(over="ignore"):
        scale = (_STEPS - 1) / (high - low) if high > low else 0.0
    if not np.isfinite(scale):
        return None
    steps = ((plane - low) * scale).astype(np.uint16)
    value_of = np.empty(_STEPS, np.float32)
    value_of[steps] = plane
    if not np.array_equal(_bits(value_of[steps]), _bits(plane)):
        return None
    occupied = np.flatnonzero(np.bincount(steps.reshape(-1), minlength=_STEPS))
    if len(occupied) > _LEVELS:
        return None
    number_of = np.zeros(_STEPS, np.uint8)
    number_of[occupied] = np.arange(len(occupied))
    table = value_of[occupied]
    if len(table) == 1:
        table = np.array([table[0], np.nextafter(table[0], np.float32(np.inf))])
    return table, number_of[steps]


def _bits(plane: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(plane).view(np.int32)


def _pack(
    kinds: list[int], tables: list[np.ndarray], pixels: np.ndarray, file_format: str, options: dict[str, int | bool]
) -> tuple[bytes, ...]:
    batch, channels, height, width = pixels.shape
    picture = pixels.transpose(0, 2, 3, 1).reshape(batch * height, width, channels)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture[..., 0] if channels == 1 else picture)).save(
        file, file_format, **options
    )
    head = _LENGTH.pack(file.getbuffer().nbytes) + bytes(kinds)
    return (head + b"".join(table.astype("<f4").tobytes() for table in tables), file.getvalue())


def _read(data: memoryview, size: tuple[int, int], mode: str, file_format: str) -> np.ndarray:
    """Decode a file of a known size; the size in its header is checked before memory is taken."""
    try:
        with Image.open(io.BytesIO(data), formats=(file_format,)) as image:
            found = image.size
            if found == size:
                return np.asarray(image.convert(mode))
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise many types of errors for broken files
        raise MalformedError(f"the picture is broken: {' '.join(str(error).split())[:200]}") from None
    raise MalformedError(f"the picture has {found[0]} x {found[1]} pixels, expected are {size[0]} x {size[1]}")
