"""What a value that crosses a cut must look like, and the check of received ones. Importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from midcut.errors import MalformedError
from midcut.tensors import dtype_name, is_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

Sizes: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExpectedValue:
    """What a value that crosses a cut must look like: at batch size B its sizes are `sizes + growth * (B - 1)`.

    An int has one size, its value.

    Attributes:
        any_size: whether the sizes depend on the data, so that only their number is known.
    """

    name: str
    dtype: str
    sizes: Sizes
    growth: Sizes
    any_size: bool = False


def check_values(values: Sequence[Any], expected: Sequence[ExpectedValue], where: str) -> None:
    """Refuse values that cannot cross this cut, whatever the batch size.

    Raises:
        MalformedError: count, kind, dtype, rank or sizes differ, or two values have different batch sizes.
    """
    if len(values) != len(expected):
        raise MalformedError(f"{where} takes {len(expected)} values, got {len(values)}")
    if all(map(_equals_example, values, expected)):
        return
    batch: int | None = None
    for value, spec in zip(values, expected, strict=True):
        sizes = _checked_sizes(value, spec, where)
        if spec.any_size:
            continue
        for size, base, growth in zip(sizes, spec.sizes, spec.growth, strict=True):
            if growth and batch is None:
                batch = 1 + (size - base) // growth
            if size != base + growth * ((batch or 1) - 1) or (batch is not None and batch < 1):
                actual = f"shape {list(sizes)}" if spec.dtype != "int" else f"value {size}"
                at = "" if batch is None else f" with batch B = {batch}"
                raise MalformedError(f"{where}: {spec.name!r} has {actual}, expected {_shape_text(spec)}{at}")


def _equals_example(value: Any, spec: ExpectedValue) -> bool:
    """Whether a value has dtype and shape of the example that the model was captured with: the usual, fast case."""
    return is_tensor(value) and value.shape == spec.sizes and dtype_name(value.dtype) == spec.dtype


def _checked_sizes(value: Any, spec: ExpectedValue, where: str) -> Sizes:
    """Sizes of a value whose kind, dtype and rank are right."""
    if spec.dtype == "int":
        if type(value) is not int:
            raise MalformedError(f"{where}: {spec.name!r} must be an int, got {type(value).__name__}")
        return (value,)
    if not is_tensor(value):
        raise MalformedError(f"{where}: {spec.name!r} must be a {spec.dtype} tensor, got {type(value).__name__}")
    if dtype_name(value.dtype) != spec.dtype:
        raise MalformedError(f"{where}: {spec.name!r} must be {spec.dtype}, got {dtype_name(value.dtype)}")
    if value.ndim != len(spec.sizes):
        raise MalformedError(f"{where}: {spec.name!r} has {value.ndim} dimensions, expected {_shape_text(spec)}")
    return tuple(value.shape)


def _shape_text(spec: ExpectedValue) -> str:
    """The expected sizes for any batch size B, as in `[4+6*B, 4]`."""
    terms = []
    for base, growth in zip(spec.sizes, spec.growth, strict=True):
        scaled = "B" if growth == 1 else f"{growth}*B"
        terms.append(str(base) if not growth else scaled if base == growth else f"{base - growth}+{scaled}")
    return terms[0] if spec.dtype == "int" else f"[{', '.join(terms)}]"
