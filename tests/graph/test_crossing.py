from __future__ import annotations

import warnings
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional

from midcut.config.settings import Capture
from midcut.errors import GraphError
from midcut.graph.crossing import find_form, own_copy, received
from midcut.graph.verify import same_bits


class Pair(NamedTuple):
    left: torch.Tensor
    right: int


class Segmentation(nn.Module):
    """The size of the image is needed again at the very end."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 2, 1)
        )

    def forward(self, x):
        return functional.interpolate(self.body(x), size=x.shape[-2:], mode="bilinear")


class Skips(nn.Module):
    """A U-Net's way: each level's size is compared or reused on the way up."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, 2, 1)
        self.deeper = nn.Conv2d(4, 4, 3, 2, 1)
        self.up = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        first = self.down(x)
        second = self.deeper(first)
        shape = first.size()
        wide = functional.interpolate(second, shape[2:])
        return functional.interpolate(self.up(torch.cat([first, wide], 1)), x.shape[2:])


class Attention(nn.Module):
    """A float made of a size, and a shape unpacked into four names."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        batch, length, width = x.shape
        scale = (width // 2) ** -0.5
        q, k, v = self.qkv(x).reshape(batch, length, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = ((q * scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class Fourier(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.rand(8, 5, dtype=torch.complex64))

    def forward(self, x):
        spectrum = torch.fft.rfft2(x, norm="ortho")
        return torch.fft.irfft2(spectrum * self.gain, s=x.shape[-2:], norm="ortho")


class Recurrent(nn.Module):
    """An LSTM gives a tuple within a tuple."""

    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        sequence, (hidden, cell) = self.lstm(x)
        return self.out(sequence[:, -1]) + hidden[-1, :, :2] * cell[-1, :, :2]


class ChunkedConvolution(nn.Module):
    """Half of a wider tensor enters a convolution as a strided view."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        _, right = self.first(x).chunk(2, dim=1)
        right = right[:, :, ::2]
        return self.second(right).mean((2, 3)) + right.sum((2, 3))


class Repeated(nn.Module):
    """An expanded tensor stores each element once."""

    def __init__(self):
        super().__init__()
        self.token, self.mix = nn.Parameter(torch.rand(1, 1, 6)), nn.Linear(6, 6)

    def forward(self, x):
        token = self.token.expand(x.shape[0], 3, -1)
        return torch.cat([token, self.mix(x)], 1) @ self.mix(token).transpose(1, 2)


NETWORKS = {
    "segmentation": (Segmentation, (3, 33, 32)),
    "skips": (Skips, (3, 17, 20)),
    "attention": (Attention, (5, 8)),
    "fourier": (Fourier, (2, 8, 8)),
    "recurrent": (Recurrent, (5, 4)),
    "chunked convolution": (ChunkedConvolution, (3, 14, 14)),
    "repeated": (Repeated, (4, 6)),
}


@pytest.mark.parametrize("capture", list(Capture))
@pytest.mark.parametrize("name", NETWORKS)
def test_every_position_is_a_cut_and_gives_the_whole_networks_bits(name, capture, cut_up, assert_exact):
    kind, shape = NETWORKS[name]
    module, x = kind().eval(), torch.rand(1, *shape)
    parts = cut_up(module, x, capture=capture)
    assert not parts.refused
    assert_exact(parts, module, x)
    assert_exact(parts, module, torch.rand(3, *shape))


class ToQuantise(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.dequant(self.head(self.body(self.quant(x)).flatten(1)))


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = ToQuantise().eval()
        module.qconfig = torch.ao.quantization.get_default_qconfig("x86")
        torch.ao.quantization.prepare(module, inplace=True)
        module(torch.rand(4, 3, 12, 12))
        return torch.ao.quantization.convert(module)


def test_a_statically_quantised_network_is_cut_and_sends_one_byte_an_element(cut_up, assert_exact):
    module, x = quantised(), torch.rand(1, 3, 12, 12)
    parts = cut_up(module, x)
    assert not parts.refused
    first = next(cut for cut in parts.table.cuts if cut.index and cut.values[0].name == "body_0")
    assert [(value.name, value.dtype) for value in first.values] == [
        ("body_0", "uint8"),
        ("body_0.scale", "float64"),
        ("body_0.zero_point", "int"),
    ]
    assert first.payload_bytes == 8 * 5 * 5 + 16
    assert_exact(parts, module, x)
    assert_exact(parts, module, torch.rand(3, 3, 12, 12))


@pytest.mark.parametrize(
    "value",
    [
        torch.quantize_per_tensor(torch.rand(2, 3), 0.1, 3, torch.qint8),
        torch.quantize_per_channel(torch.rand(2, 3), torch.rand(3), torch.tensor([1, 2, 3]), 1, torch.qint8),
        torch.rand(2, 3, dtype=torch.complex64).conj(),
        torch.rand(3, 2, dtype=torch.complex128).t(),
        torch.rand(2, 3).to(torch.float8_e4m3fn),
        torch.tensor([1, 65535], dtype=torch.uint16),
        torch.Size([2, 3]),
        (1, [2.5, True, None], {"a": torch.rand(2), "b": "word"}),
        Pair(torch.rand(2), 3),
        torch.max(torch.rand(2, 3), 1),
        float("nan"),
        torch.rand(4, 6)[::2, 1:3],
        torch.rand(1, 3).expand(4, 3),
        torch.rand(4, 1, 3).expand(4, 2, 3)[:, :, 1:],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_arrives_has_the_same_type_bits_and_strides(value):
    for copy in (received(find_form(value), value), own_copy(value)):
        assert type(copy) is type(value)
        assert same_bits(copy, value)
        if isinstance(value, torch.Tensor) and not value.is_complex():
            assert copy.stride() == value.stride()
            assert copy.data_ptr() != value.data_ptr()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.rand(3, 3).to_sparse(), "layout sparse_coo"),
        (torch.nested.nested_tensor([torch.rand(2), torch.rand(3)]), "cannot be sent"),
        (object(), "a object"),
        ({1, 2}, "a set"),
    ],
)
def test_what_cannot_cross_is_named(value, kind):
    with pytest.raises(GraphError, match=kind):
        find_form(value)


def test_quantised_values_that_differ_only_in_scale_or_zero_point_are_different():
    integers = torch.tensor([1, 2, 3], dtype=torch.uint8)
    make = torch._make_per_tensor_quantized_tensor
    assert same_bits(make(integers, 0.5, 1), make(integers.clone(), 0.5, 1))
    assert not same_bits(make(integers, 0.5, 1), make(integers, 0.25, 1))
    assert not same_bits(make(integers, 0.5, 1), make(integers, 0.5, 2))
    assert not same_bits(make(integers, 0.5, 1), integers)


class Phases(nn.Module):
    def forward(self, x):
        return torch.view_as_real(x * 2.0).sum(-1)


def test_a_networks_own_complex_input_is_taken_as_it_is_and_as_it_crosses(cut_up):
    module, example = Phases(), torch.rand(1, 4, dtype=torch.complex64)
    parts = cut_up(module, example)
    for inputs in ([example], [torch.view_as_real(example)]):
        for cut in parts.legal:
            assert torch.equal(parts.assemble(parts.tail(cut, parts.head(cut, inputs))), module(example))
