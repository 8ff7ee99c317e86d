from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from midcut.errors import MalformedError
from midcut.tensors import as_received, dim_order, tensor_from_bytes, tensor_to_bytes
from midcut.types import DTYPES


def test_contiguous_bytes_are_little_endian_row_major():
    data, order = tensor_to_bytes(torch.tensor([[1.0, 2.0], [-0.5, 0.0]]))
    assert order is None
    assert bytes(data) == np.array([1.0, 2.0, -0.5, 0.0], "<f4").tobytes()


def test_channels_last_travels_in_physical_order():
    image = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    data, order = tensor_to_bytes(image)
    assert order == (0, 2, 3, 1)
    assert bytes(data) == image.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
    back = tensor_from_bytes(data, "float32", (1, 2, 3, 4), order)
    assert torch.equal(back, image)
    assert back.stride() == image.stride()


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_dtype_comes_back_bit_for_bit_in_own_aligned_memory(dtype):
    tensor = torch.randint(0, 2, (3, 5)).to(getattr(torch, dtype))
    back = as_received(tensor)
    assert back.dtype == tensor.dtype
    assert torch.equal(back, tensor)
    assert back.data_ptr() != tensor.data_ptr()
    assert back.data_ptr() % 64 == 0


def test_nan_payloads_and_negative_zero_keep_their_bits():
    bits = torch.tensor([0x7FC00001, -0x80000000, 0x7F800000], dtype=torch.int64).to(torch.int32)
    assert torch.equal(as_received(bits.view(torch.float32)).view(torch.int32), bits)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 4), min_size=0, max_size=5), st.randoms(use_true_random=False))
def test_any_permuted_tensor_keeps_its_strides(shape, random):
    order = list(range(len(shape)))
    random.shuffle(order)
    tensor = torch.rand(shape).permute(order)
    back = as_received(tensor)
    assert torch.equal(back, tensor)
    assert back.stride() == tensor.stride()


def test_slices_and_expanded_tensors_arrive_dense():
    half = torch.rand(2, 8, 3).chunk(2, dim=1)[1]
    assert torch.equal(as_received(half), half)
    assert as_received(half).is_contiguous()
    wide = torch.rand(1, 3).expand(4, 3)
    assert dim_order(wide) is None
    assert torch.equal(as_received(wide), wide)


def test_scalars_and_empty_tensors():
    assert as_received(torch.tensor(3.5)).item() == 3.5
    assert tensor_from_bytes(np.float32(3.5).tobytes(), "float32", (), ()).item() == 3.5
    assert as_received(torch.empty(0, 4)).shape == (0, 4)


def test_writing_into_what_was_received_leaves_the_bytes_alone():
    sent = bytes(tensor_to_bytes(torch.ones(4))[0])
    tensor_from_bytes(sent, "float32", (4,)).zero_()
    assert sent == np.ones(4, "<f4").tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((b"123", "float32", (1,), None), "takes 4 bytes, got 3"),
        ((b"1234", "complex64", (1,), None), "unknown dtype 'complex64'"),
        ((b"1234", "float32", (-1,), None), "negative"),
        ((b"1234", "float32", (1, 1), (0, 0)), "not a permutation"),
        ((b"1234", "float32", (1,), (0, 1)), "not a permutation"),
        ((b"\x02", "bool", (1,), None), "0 or 1"),
        ((b"", "float32", (2**40, 2**40), None), "takes"),
        ((b"", "float32", (0, 2**70), None), "no tensor can have"),
    ],
)
def test_malformed_bytes_are_refused(arguments, message):
    with pytest.raises(MalformedError, match=message):
        tensor_from_bytes(*arguments)
