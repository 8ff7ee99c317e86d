"""How a value of the graph crosses a cut: taken apart into tensors and ints, and put together again by the receiver.

The wire carries dense tensors of a few dtypes, and ints. A graph has more: sizes, tuples, quantised and complex
tensors, numbers, slices with gaps in memory. Each value's `Form` is found once, from the example, on both sides alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import torch

from midcut.errors import GraphError, MalformedError
from midcut.tensors import as_received
from midcut.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Part: TypeAlias = torch.Tensor | int
Sizes: TypeAlias = tuple[int, ...]

# Dtypes that the wire does not know cross as integers of the same width.
_CARRIERS: Final = {
    torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64,
    torch.float8_e4m3fn: torch.uint8, torch.float8_e5m2: torch.uint8,
    torch.float8_e4m3fnuz: torch.uint8, torch.float8_e5m2fnuz: torch.uint8,
}  # fmt: skip
_PER_TENSOR: Final = (torch.per_tensor_affine, torch.per_tensor_symmetric)
_PER_CHANNEL: Final = (torch.per_channel_affine, torch.per_channel_symmetric)
_SETTINGS: Final = (type(None), str, torch.dtype, torch.layout, torch.memory_format, torch.device)


class Form(Protocol):
    """How values like one of the example cross.

    Attributes:
        suffixes: what each part's name has after the value's own name.
    """

    @property
    def suffixes(self) -> Sequence[str]: ...

    def take_apart(self, value: Any) -> list[Part]:
        """Return the parts, one for each suffix."""

    def put_together(self, parts: Iterator[Any]) -> Any:
        """Return the value, made of the next parts; these are not written to, but may be part of the value.

        To learn where each part of an output goes, callers give positions instead of parts: those come back.
        """


@dataclass(frozen=True)
class Plain:
    """A tensor or an int that crosses as it is."""

    suffixes: Sequence[str] = ("",)

    def take_apart(self, value: Any) -> list[Part]:
        return [value]

    def put_together(self, parts: Iterator[Any]) -> Any:
        return next(parts)


@dataclass(frozen=True)
class Strided:
    """A tensor with gaps or repetitions in memory. It is sent dense, and the receiver restores its strides.

    A kernel may add in another order for other strides, which changes the last bits of the result.

    Attributes:
        sizes, strides: those of the example, and of the same value with another batch size.
    """

    sizes: tuple[Sizes, ...]
    strides: tuple[Sizes, ...]
    suffixes: Sequence[str] = ("",)

    def take_apart(self, value: Any) -> list[Part]:
        return [value]

    def put_together(self, parts: Iterator[Any]) -> Any:
        part = next(parts)
        if not isinstance(part, torch.Tensor):
            return part
        strides = self._strides(part.shape)
        if strides is None or strides == part.stride():
            return part
        used = zip(part.shape, strides, part.stride(), strict=True)
        if all(size < 2 or wanted == actual for size, wanted, actual in used):
            return part.as_strided(part.shape, strides)
        return with_strides(part, strides)

    def _strides(self, shape: Sequence[int]) -> Sizes | None:
        """The strides that the sender's tensor had: known for the example's sizes, and linear in the batch size."""
        for sizes, strides in zip(self.sizes, self.strides, strict=True):
            if sizes == tuple(shape):
                return strides
        if len(self.sizes) < 2:
            return None
        one, two = self.sizes[:2]
        batches = {
            2 + (size - b) / (b - a) for a, b, size in zip(one, two, shape, strict=True) if b != a
        }  # the batch size is 1 in `one` and 2 in `two`
        batch = next(iter(batches), 0.0)
        if len(batches) != 1 or batch != int(batch):
            return None
        known = zip(*self.strides[:2], one, strict=True)
        # In the example, the stride of a dimension of size 1 is arbitrary.
        return tuple(b + (b - a) * (int(batch) - 2) if size > 1 else b for a, b, size in known)


@dataclass(frozen=True)
class Reinterpreted:
    """A tensor of a dtype that the wire does not know: its bits cross as integers."""

    dtype: torch.dtype
    suffixes: Sequence[str] = ("",)

    def take_apart(self, value: Any) -> list[Part]:
        return [value.view(_CARRIERS[self.dtype])]

    def put_together(self, parts: Iterator[Any]) -> Any:
        part = next(parts)
        return part.view(self.dtype) if isinstance(part, torch.Tensor) else part


@dataclass(frozen=True)
class Complex:
    """A complex tensor: a last dimension has the real and the imaginary part."""

    suffixes: Sequence[str] = ("",)

    def take_apart(self, value: Any) -> list[Part]:
        return [torch.view_as_real(value.resolve_conj().resolve_neg())]

    def put_together(self, parts: Iterator[Any]) -> Any:
        part = next(parts)
        if not isinstance(part, torch.Tensor) or part.is_complex():  # the model's own input, which crossed nothing
            return part
        # The innermost dimension must be the pair; another dim order is possible around it.
        return torch.view_as_complex(part if part.stride(-1) == 1 else part.contiguous())


@dataclass(frozen=True)
class Quantised:
    """A quantised tensor: its integers, its scale and its zero point, or one of each per channel."""

    axis: int | None
    suffixes: Sequence[str] = ("", ".scale", ".zero_point")

    def take_apart(self, value: Any) -> list[Part]:
        if self.axis is None:
            return [value.int_repr(), torch.tensor(value.q_scale(), dtype=torch.float64), int(value.q_zero_point())]
        scales, zero_points = value.q_per_channel_scales(), value.q_per_channel_zero_points()
        return [value.int_repr(), scales.double(), zero_points.long()]

    def put_together(self, parts: Iterator[Any]) -> Any:
        integers, scale, zero_point = next(parts), next(parts), next(parts)
        if not isinstance(integers, torch.Tensor):
            return integers
        if self.axis is None:
            return torch._make_per_tensor_quantized_tensor(integers, float(scale), zero_point)  # noqa: SLF001
        return torch._make_per_channel_quantized_tensor(integers, scale, zero_point, self.axis)  # noqa: SLF001


@dataclass(frozen=True)
class Number:
    """A float, complex or bool, as a tensor without dimensions."""

    kind: type
    suffixes: Sequence[str] = ("",)

    def take_apart(self, value: Any) -> list[Part]:
        return [torch.tensor(value, dtype=torch.bool if self.kind is bool else torch.float64)]

    def put_together(self, parts: Iterator[Any]) -> Any:
        part = next(parts)
        return self.kind(part.item()) if isinstance(part, torch.Tensor) else part


@dataclass(frozen=True)
class Setting:
    """A value that no input changes, such as a dtype or None: nothing crosses, the receiver has it."""

    value: Any
    suffixes: Sequence[str] = ()

    def take_apart(self, value: Any) -> list[Part]:  # noqa: ARG002 - as the protocol has it
        return []

    def put_together(self, parts: Iterator[Any]) -> Any:  # noqa: ARG002
        return self.value


@dataclass(frozen=True)
class Items:
    """A tuple, list, dict, `torch.Size` or named tuple: the parts of its items.

    Attributes:
        make: builds it from its items.
        forms: of its items.
        keys: of a dict.
    """

    make: Callable[[list[Any]], Any]
    forms: tuple[Form, ...]
    keys: tuple[Any, ...] | None
    suffixes: Sequence[str]

    def take_apart(self, value: Any) -> list[Part]:
        items = list(value.values()) if self.keys is not None else list(value)
        if len(items) != len(self.forms):
            raise MalformedError(f"a {type(value).__name__} has {len(items)} items, in the example {len(self.forms)}")
        return [part for form, item in zip(self.forms, items, strict=True) for part in form.take_apart(item)]

    def put_together(self, parts: Iterator[Any]) -> Any:
        return self.make([form.put_together(parts) for form in self.forms])


PLAIN: Final = Plain()


def find_form(value: Any) -> Form:
    """Return how values like this one cross.

    Raises:
        GraphError: they cannot cross; the message says what they are.
    """
    if isinstance(value, torch.Tensor):
        return _tensor_form(value)
    if type(value) is int:
        return PLAIN
    if type(value) in (bool, float):
        return Number(type(value))
    if isinstance(value, _SETTINGS):
        return Setting(value)
    if isinstance(value, (list, tuple)):
        return _items_form([f".{position}" for position in range(len(value))], list(value), None, _maker(type(value)))
    if type(value) is dict and all(isinstance(key, (str, int)) for key in value):
        keys = tuple(value)
        return _items_form(
            [f".{key}" for key in keys],
            list(value.values()),
            keys,
            lambda items: dict(zip(keys, items, strict=True)),
        )
    raise GraphError(f"a {type(value).__name__}, which cannot be sent")


class Layout(NamedTuple):
    """Sizes and strides of a tensor."""

    sizes: Sizes
    strides: Sizes


def layouts(value: Any) -> Any:
    """Return the layout of a tensor, a list of such for the items of a container, and None for anything else."""
    if isinstance(value, torch.Tensor):
        return Layout(tuple(map(int, value.shape)), value.stride())
    if isinstance(value, (list, tuple, dict)):
        return [layouts(item) for item in (value.values() if isinstance(value, dict) else value)]
    return None


def add_batch(form: Form, one: Any, two: Any) -> Form:
    """Return the form with what it needs to know of the same value at batch size 2.

    Args:
        form: of the value at batch size 1.
        one, two: `layouts` of the value at batch sizes 1 and 2.
    """
    if isinstance(form, Items):
        if len(two) != len(form.forms):
            return form
        forms = tuple(add_batch(*entry) for entry in zip(form.forms, one, two, strict=True))
        return Items(form.make, forms, form.keys, form.suffixes)
    if isinstance(form, (Plain, Strided)) and isinstance(two, Layout) and (form != PLAIN or _has_gaps(*two)):
        return Strided((one.sizes, two.sizes), (one.strides, two.strides))
    return form


def with_strides(tensor: torch.Tensor, strides: Sequence[int]) -> torch.Tensor:
    """Return a copy with these strides; where a stride is 0, the first element along the dimension is repeated."""
    stored = [1 if stride == 0 else size for size, stride in zip(tensor.shape, strides, strict=True)]
    copy = torch.empty_strided(stored, tuple(strides), dtype=tensor.dtype, device=tensor.device)
    source = tensor
    for dim, size in enumerate(stored):
        source = source.narrow(dim, 0, min(size, source.shape[dim]))
    return copy.copy_(source).expand(tensor.shape)


def received(form: Form, value: Any) -> Any:
    """Return the value as the other side has it when this one is sent: equal bits and strides, own memory."""
    parts = form.take_apart(value)
    return form.put_together(iter([as_received(part) if isinstance(part, torch.Tensor) else part for part in parts]))


def own_copy(value: Any) -> Any:
    """Return a copy of a value that shares no tensor's memory with it and has equal strides."""
    if isinstance(value, torch.Tensor):
        return with_strides(value, value.stride()) if _has_gaps(value.shape, value.stride()) else value.clone()
    if isinstance(value, (list, tuple)):
        return _maker(type(value))([own_copy(item) for item in value])
    return {key: own_copy(item) for key, item in value.items()} if isinstance(value, dict) else value


def part_sizes(part: Part) -> tuple[str, Sizes]:
    """Return the dtype's name and the sizes of a part. The size of an int is its value."""
    if isinstance(part, torch.Tensor):
        return str(part.dtype).removeprefix("torch."), tuple(int(size) for size in part.shape)
    return "int", (part,)


def _tensor_form(value: torch.Tensor) -> Form:
    dtype = str(value.dtype).removeprefix("torch.")
    if type(value) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer) or value.is_nested:
        raise GraphError(f"a {type(value).__name__} of a kind that cannot be sent")
    if value.layout is not torch.strided:
        raise GraphError(f"a tensor of layout {str(value.layout).removeprefix('torch.')}, which cannot be sent")
    if value.is_quantized:
        if value.qscheme() in _PER_TENSOR:
            return Quantised(None)
        if value.qscheme() in _PER_CHANNEL:
            return Quantised(value.q_per_channel_axis())
        raise GraphError(f"a quantised tensor of scheme {value.qscheme()}, which cannot be sent")
    if value.dtype in (torch.complex64, torch.complex128):
        return Complex()
    if value.dtype in _CARRIERS:
        return Reinterpreted(value.dtype)
    if dtype not in DTYPES:
        raise GraphError(f"a tensor of dtype {dtype}, which cannot be sent")
    if _has_gaps(value.shape, value.stride()):
        return Strided((tuple(value.shape),), (value.stride(),))
    return PLAIN


def _has_gaps(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements do not fill a stretch of memory, each once."""
    expected = 1
    for stride, size in sorted(zip(strides, sizes, strict=True)):
        if size == 0:
            return False
        if size == 1:
            continue
        if stride != expected:
            return True
        expected *= size
    return False


def _items_form(
    suffixes: list[str], items: list[Any], keys: tuple[Any, ...] | None, make: Callable[[list[Any]], Any]
) -> Form:
    forms = tuple(find_form(item) for item in items)
    names = [f"{suffix}{inner}" for suffix, form in zip(suffixes, forms, strict=True) for inner in form.suffixes]
    return Items(make, forms, keys, tuple(names))


def _maker(kind: type) -> Callable[[list[Any]], Any]:
    """How to build a list or tuple of a kind from its items."""
    if hasattr(kind, "_fields"):
        return lambda items: kind(*items)
    return kind
