"""The contract suite for codecs: what one side encodes the other one decodes, and anything else is refused."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from midcut.errors import MalformedError
from midcut.types import Encoded, ValueSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from midcut.protocols import Codec

_SHAPES: Final = ((1, 8, 6, 5), (1, 8, 1, 1), (4, 3, 7), (2, 10), (1, 1), (5,))
_NEGLIGIBLE: Final = 1e-7  # a lossy codec may round to zero whatever is smaller
_OTHER_DTYPES: Final = ("float64", "float16", "bfloat16", "int64", "uint8", "bool")


class CodecSuite:
    """The contract of `midcut.protocols.Codec`. Subclass it and implement `make`.

    A lossless codec must restore every bit; a lossy one states its largest error.

    Attributes:
        tolerance: largest error of an element, as a share of the tensor's largest magnitude. Ignored for a codec
            whose `agreement` is 1.0, which must be exact.
        estimates: whether `encoded_bytes` is an estimate, because the size depends on the values.
    """

    tolerance = 0.01
    estimates = False

    def make(self) -> Codec:
        raise NotImplementedError

    def test_it_says_who_it_is_and_what_it_costs(self) -> None:
        codec = self.make()
        assert codec.name
        assert codec.agreement is None or 0.0 <= codec.agreement <= 1.0
        seconds = codec.codec_s(ValueSpec("x", "float32", (1, 64, 56, 56)))
        assert math.isfinite(seconds)
        assert seconds >= 0.0

    @pytest.mark.parametrize("shape", _SHAPES, ids=str)
    def test_a_float32_tensor_comes_back(self, shape: tuple[int, ...]) -> None:
        for value in _memory_layouts(shape):
            self._assert_round_trip(value)

    @pytest.mark.parametrize("dtype", _OTHER_DTYPES)
    def test_another_dtype_comes_back_or_is_refused(self, dtype: str) -> None:
        import torch

        codec = self.make()
        value = (_tensor((1, 4, 5, 6)) * 3).to(getattr(torch, dtype))
        try:
            codec.encode(value)
        except MalformedError:
            with pytest.raises(MalformedError):
                codec.encoded_bytes(_spec(value))
        else:
            self._assert_round_trip(value)

    def test_equal_zero_extreme_and_empty_values_come_back_or_are_refused(self) -> None:
        import torch

        largest = torch.finfo(torch.float32).max
        small = torch.tensor([[1e-45, 0.0, 1e-44]])
        for value in (torch.zeros(2, 3, 4), torch.full((1, 5), 2.5), small, torch.tensor(2.5)):
            self._assert_round_trip(value)
        for value in (torch.tensor([[-largest, largest]]), torch.tensor([[math.inf, math.nan, 1.0]]), torch.empty(0)):
            codec = self.make()
            try:
                encoded = codec.encode(value)
            except MalformedError:
                continue
            decoded = codec.decode(_as_received(encoded), _spec(value))
            assert (decoded.dtype, decoded.shape) == (value.dtype, value.shape)
            if codec.agreement == 1.0:
                assert _raw_bytes(decoded) == _raw_bytes(value)

    def test_the_tensor_is_left_alone_and_the_result_has_memory_of_its_own(self) -> None:
        codec, value = self.make(), _tensor((1, 8, 6, 5))
        before = _raw_bytes(value)
        received = _as_received(codec.encode(value))
        assert _raw_bytes(value) == before
        decoded = codec.decode(received, _spec(value))
        decoded_bytes = _raw_bytes(decoded)
        for piece in received.data:
            memoryview(piece).cast("B")[:] = bytes(memoryview(piece).nbytes)
        assert _raw_bytes(decoded) == decoded_bytes

    def test_it_knows_how_many_bytes_it_makes(self) -> None:
        codec = self.make()
        for shape in _SHAPES:
            actual, stated = codec.encode(_tensor(shape)).size_bytes, codec.encoded_bytes(_spec(_tensor(shape)))
            assert actual == stated or (self.estimates and stated > 0)

    def test_parameters_are_plain_values(self) -> None:
        for name, value in self.make().encode(_tensor((2, 3, 4))).parameters.items():
            assert name.isidentifier()
            assert isinstance(value, str | int | float | bool)

    def test_the_wrong_length_is_refused(self) -> None:
        codec, value = self.make(), _tensor((1, 8, 6, 5))
        data = b"".join(codec.encode(value).data)
        for wrong in (b"", data[:-1], data[: len(data) // 2], data + b"\0", data * 3):
            self._assert_refused(codec.encode(value), wrong, _spec(value))

    def test_another_tensor_than_the_expected_one_is_refused(self) -> None:
        codec, value = self.make(), _tensor((1, 8, 6, 5))
        for shape in ((1, 8, 6, 6), (100_000, 8, 6, 5), (1, 1), (), (0, 3)):
            encoded = codec.encode(value)
            self._assert_refused(encoded, b"".join(encoded.data), ValueSpec("x", "float32", shape))

    def test_a_dim_order_that_is_none_is_refused(self) -> None:
        codec, value = self.make(), _tensor((2, 3, 4))
        encoded = codec.encode(value)
        for order in ((0, 1), (0, 0, 1), (0, 1, 3), (-1, 0, 1)):
            with pytest.raises(MalformedError):
                codec.decode(Encoded(encoded.data, encoded.parameters, order), _spec(value))

    def test_noise_is_refused_or_gives_a_tensor_of_the_right_shape(self) -> None:
        codec, value = self.make(), _tensor((1, 8, 6, 5))
        encoded, generator = codec.encode(value), np.random.default_rng(0)
        for size in (*range(0, 200, 7), encoded.size_bytes, value.numel() * 4):
            noise = generator.integers(0, 256, size, dtype=np.uint8).tobytes()
            self._decode_untrusted(Encoded((noise,), encoded.parameters, encoded.dim_order), _spec(value))
        data = bytearray(b"".join(encoded.data))
        for position in generator.integers(0, len(data), 200):
            data[position] ^= 1 << int(generator.integers(0, 8))
            self._decode_untrusted(Encoded((bytes(data),), encoded.parameters, encoded.dim_order), _spec(value))

    def test_strange_parameters_are_refused_or_ignored(self) -> None:
        codec, value = self.make(), _tensor((1, 8, 6, 5))
        encoded = codec.encode(value)
        for strange in ("", "x" * 1000, -1, 2**62, math.nan, math.inf, True):
            parameters = dict.fromkeys(encoded.parameters, strange) | {"unheard_of": strange}
            self._decode_untrusted(Encoded(encoded.data, parameters, encoded.dim_order), _spec(value))

    def test_several_threads_may_use_it_at_once(self) -> None:
        codec, values = self.make(), [_tensor((1, 8, 20, 5 + index), seed=index) for index in range(16)]
        alone = [_raw_bytes(codec.decode(_as_received(codec.encode(value)), _spec(value))) for value in values]
        with ThreadPoolExecutor(4) as pool:
            together = list(
                pool.map(
                    lambda value: _raw_bytes(codec.decode(_as_received(codec.encode(value)), _spec(value))), values
                )
            )
        assert together == alone

    def _assert_round_trip(self, value: torch.Tensor) -> None:
        codec = self.make()
        decoded = codec.decode(_as_received(codec.encode(value)), _spec(value))
        assert (decoded.dtype, decoded.shape) == (value.dtype, value.shape)
        if codec.agreement == 1.0:
            assert _raw_bytes(decoded) == _raw_bytes(value)
            if value.numel() == value.untyped_storage().nbytes() // value.element_size():
                assert decoded.stride() == value.stride()
        else:
            error = (decoded.double() - value.double()).abs().max().item()
            assert error <= self.tolerance * value.double().abs().max().item() + _NEGLIGIBLE

    def _assert_refused(self, encoded: Encoded, data: bytes, spec: ValueSpec) -> None:
        with pytest.raises(MalformedError) as caught:
            self.make().decode(Encoded((data,), encoded.parameters, encoded.dim_order), spec)
        assert "\n" not in str(caught.value)

    def _decode_untrusted(self, encoded: Encoded, spec: ValueSpec) -> None:
        try:
            decoded = self.make().decode(encoded, spec)
        except MalformedError:
            return
        assert (str(decoded.dtype), tuple(decoded.shape)) == (f"torch.{spec.dtype}", spec.shape)


def _tensor(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """A random tensor of which half the elements are zero, as after a ReLU."""
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu_()


def _memory_layouts(shape: tuple[int, ...]) -> Iterator[torch.Tensor]:
    """Tensors in several memory layouts: contiguous, with negative values, permuted, a slice, and expanded."""
    value = _tensor(shape)
    yield value
    yield value - 0.5
    dims = len(shape)
    back = tuple(sorted(range(dims), key=lambda dim: (dim + 1) % dims))
    yield value.permute(*((dim + 1) % dims for dim in range(dims))).contiguous().permute(*back)
    yield _tensor((*shape[:-1], shape[-1] + 2))[..., 1:-1]
    yield _tensor((*shape[:-1], 1)).expand(shape)


def _spec(value: torch.Tensor) -> ValueSpec:
    return ValueSpec("x", str(value.dtype).removeprefix("torch."), tuple(value.shape))


def _as_received(encoded: Encoded) -> Encoded:
    """The encoded tensor as it arrives: in one piece, at an odd address."""
    body = bytearray(b"{" + b"".join(encoded.data))
    return Encoded((memoryview(body)[1:],), dict(encoded.parameters), encoded.dim_order)


def _raw_bytes(value: torch.Tensor) -> Any:
    import torch

    return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
