"""Payloads that are not plain tensors, through a real cloud over HTTP: the answer has the bits of the unsplit model."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from midcut.config.settings import CutSettings
from midcut.errors import CloudRefusedError
from midcut.graph import partition
from midcut.graph.verify import same_bits
from midcut.types import LoadedModel, TailRequest
from midcut_codecs.config import ZstdConfig
from midcut_codecs.exact import Base64, Raw
from midcut_codecs.packed import Zstd
from midcut_transports.http import HttpTransport

CODECS = {
    "raw": Raw(name="raw"),
    "base64": Base64(name="base64", mb_per_s=100.0),
    "zstd": Zstd(name="zstd", **vars(ZstdConfig())),
}


class Segmentation(nn.Module):
    """A size, a tuple and a complex tensor wait while others are computed."""

    def __init__(self):
        super().__init__()
        self.body, self.out = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        best = x.max(1)
        spectrum = torch.fft.rfft2(x)
        wide = functional.interpolate(self.out(torch.relu(self.body(x))), size=x.shape[-2:], mode="bilinear")
        return wide + best[0].unsqueeze(1) + torch.fft.irfft2(spectrum, s=x.shape[-2:]).mean(1, keepdim=True)


class ToQuantise(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.body, self.head = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3)), nn.Linear(8, 5)

    def forward(self, x):
        return self.dequant(self.head(self.body(self.quant(x)).mean((2, 3))))


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = ToQuantise().eval()
        module.qconfig = torch.ao.quantization.get_default_qconfig("x86")
        torch.ao.quantization.prepare(module, inplace=True)
        module(torch.rand(4, 3, 16, 16))
        return torch.ao.quantization.convert(module)


def captured(module):
    example = (torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)),)
    return partition(LoadedModel("toy", module.eval(), example, lambda image: image), CutSettings()), example


async def ask(url, parts, cut, payload, codec):
    transport = HttpTransport(url, 30.0, 5.0, CODECS)
    await transport.open()
    names = [spec.name for spec in parts.table.cuts[cut].values]
    try:
        request = TailRequest("toy", cut, parts.table.fingerprint, payload, "r", codec, names=names)
        return (await transport.infer(request)).values
    finally:
        await transport.close()


@pytest.mark.usefixtures("single_threaded")
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("make", [Segmentation, quantised])
async def test_every_cut_of_a_model_with_unusual_payloads_over_http(make, codec, running_cloud):
    torch.manual_seed(0)
    module = make()
    parts, example = captured(module)
    assert not parts.refused
    with torch.no_grad():
        whole = module(*example)
    with running_cloud(parts, codecs=CODECS) as url:
        for cut in parts.legal[:-1]:
            values = await ask(url, parts, cut, parts.head(cut, example), codec)
            assert same_bits(parts.assemble(values), whole), f"cut {cut}"


async def test_a_twin_with_other_packed_weights_is_refused(running_cloud):
    torch.manual_seed(0)
    here, example = captured(quantised())
    torch.manual_seed(1)
    there, _ = captured(quantised())
    assert here.table.weights != there.table.weights
    with (
        running_cloud(there, codecs=CODECS) as url,
        pytest.raises(CloudRefusedError, match="other weights, graph or cuts"),
    ):
        await ask(url, here, 2, here.head(2, example), "raw")
