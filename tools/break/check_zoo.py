#!/usr/bin/env python3
"""Cut models of other libraries and compare split and unsplit bit for bit; prints a line for each.

Specs are LIBRARY:NAME, where the library is `timm`, `transformers`, `smp` (segmentation_models_pytorch) or a part of
torchvision (`segmentation`, `video`, `quantization`, `detection`). They need not be installed for anything else.
Weights are random, and batch norms are set by some runs in training mode, so that an answer depends on its input.
`again` is the second load, from the cache. Exits with 1 if a model cannot be cut or any output differs in one bit.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import logging
import random
import signal
import sys
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

import torch

from midcut.config.settings import CutSettings
from midcut.graph import Partition, partition
from midcut.graph.verify import same_bits
from midcut.tensors import as_received
from midcut.types import LoadedModel
from midcut_models.torchvision_shim import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMM = [
    "resnet18",
    "resnet50d",
    "seresnet18",
    "resnext26ts",
    "regnetx_002",
    "regnety_002",
    "efficientnet_b0",
    "efficientnet_lite0",
    "tf_mobilenetv3_small_075",
    "mobilenetv3_small_050",
    "mobilenetv4_conv_small",
    "mnasnet_small",
    "ghostnet_050",
    "hardcorenas_a",
    "fbnetc_100",
    "densenet121",
    "vgg11_bn",
    "inception_v3",
    "xception41",
    "dla34",
    "hrnet_w18_small",
    "res2net50_14w_8s",
    "selecsls42",
    "convnext_atto",
    "convnextv2_atto",
    "convmixer_768_32",
    "mixer_s32_224",
    "resmlp_12_224",
    "gmixer_12_224",
    "poolformer_s12",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "cait_xxs24_224",
    "swin_tiny_patch4_window7_224",
    "pvt_v2_b0",
    "pit_ti_224",
    "levit_128s",
    "mobilevit_xxs",
    "mobilevitv2_050",
    "efficientformer_l1",
    "edgenext_xx_small",
    "maxvit_rmlp_pico_rw_256",
    "repvgg_a0",
    "fastvit_t8",
    "coatnet_nano_rw_224",
]
TRANSFORMERS = [
    "Bert",
    "DistilBert",
    "Roberta",
    "Albert",
    "Electra",
    "MobileBert",
    "GPT2",
    "OPT",
    "T5Encoder",
    "ViT",
    "DeiT",
    "Swin",
    "Segformer",
    "Whisper",
    "MPNet",
    "ConvBert",
    "Llama",
    "Qwen2",
]
SMP = ["Unet", "UnetPlusPlus", "FPN", "PSPNet", "Linknet", "DeepLabV3", "DeepLabV3Plus", "MAnet"]
TORCHVISION = {
    "segmentation": ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50"],
    "video": ["r3d_18", "mc3_18", "r2plus1d_18", "swin3d_t", "mvit_v1_b"],
    "quantization": ["mobilenet_v2", "resnet18", "shufflenet_v2_x0_5", "googlenet", "mobilenet_v3_large"],
    "detection": ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn"],
}
HEADER = (
    f"{'model':48} {'graph':6} {'offered':>7} {'all':>5} {'tried':>5} {'differ':>6} {'load s':>7} {'again s':>7} "
    f"{'forward s':>9}"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="*", metavar="LIBRARY:NAME", help="default: a choice of all libraries")
    parser.add_argument("--cuts", type=int, default=8, help="random legal cuts per model (default: %(default)s)")
    parser.add_argument("--limit-s", type=int, default=240, help="seconds per model (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as cache:
        good = [check(spec, arguments.cuts, arguments.limit_s, cache) for spec in arguments.specs or all_specs()]
    print(f"{sum(good)} of {len(good)} models cut without a differing bit")
    return 0 if all(good) else 1


def all_specs() -> list[str]:
    by_library = {"timm": TIMM, "transformers": TRANSFORMERS, "smp": SMP, **TORCHVISION}
    return [f"{library}:{name}" for library, names in by_library.items() for name in names]


def check(spec: str, cuts: int, limit_s: int, cache: str) -> bool:
    try:
        with time_limit(limit_s):
            torch.manual_seed(0)
            module, example = make(*spec.split(":"))
            fresh = copy.deepcopy(module)
            module = copy.deepcopy(module)
            with torch.no_grad():
                whole = copy.deepcopy(module)(*example)
                timed = copy.deepcopy(module)
                timed(*example)
                started = time.perf_counter()
                timed(*example)
                forward_s = time.perf_counter() - started
            started = time.perf_counter()
            settings = CutSettings(cache=cache)
            parts = partition(LoadedModel(spec, module, example, lambda _: example[0]), settings)
            load_s = time.perf_counter() - started
            started = time.perf_counter()
            partition(LoadedModel(spec, fresh, example, lambda _: example[0]), settings)
            again_s = time.perf_counter() - started
            rng = random.Random(spec)
            tried = rng.sample(parts.legal, min(cuts, len(parts.legal)))
            differ = sum(not same_bits(finish(parts, cut, example), flat_like(parts, whole)) for cut in tried)
    except Exception as error:  # noqa: BLE001 - one model's error, whatever it is, is a line of the table
        print(f"{spec:48} FAILED {type(error).__name__}: {' '.join(str(error).split())[:400]}", flush=True)
        return False
    table = parts.table
    print(
        f"{spec:48} {table.capture:6} {len(table.cuts) - len(parts.refused):7} {len(table.cuts):5} {len(tried):5} "
        f"{differ:6} {load_s:7.2f} {again_s:7.2f} {forward_s:9.4f}",
        flush=True,
    )
    for cut, why in list(parts.refused.items())[:2]:
        print(f"    cut {cut}: {why[:150]}", flush=True)
    return not differ


def finish(parts: Partition, cut: int, example: tuple[torch.Tensor, ...]) -> Any:
    payload = [as_received(v) if isinstance(v, torch.Tensor) else v for v in parts.head(cut, example)]
    return parts.assemble(parts.tail(cut, payload))


def flat_like(parts: Partition, whole: Any) -> Any:
    """The module's answer; where attention's fast path is off in the graph, that of the graph's own first cut."""
    return whole if parts.table.capture == "fx" else parts.assemble(parts.tail(0, parts.captured.example))


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"over {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def make(library: str, name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torchvision = import_torchvision()
    if library == "timm":
        module = importlib.import_module("timm").create_model(name, pretrained=False)
        size = module.default_cfg["input_size"] if module.default_cfg.get("fixed_input_size") else (3, 128, 128)
        return settled(module, (torch.rand(1, *size),))
    if library == "smp":
        smp = importlib.import_module("segmentation_models_pytorch")
        return settled(getattr(smp, name)("resnet18", encoder_weights=None, classes=3), (torch.rand(1, 3, 64, 64),))
    if library == "transformers":
        return make_transformer(name)
    if library == "quantization":
        module = torchvision.models.get_model(f"quantized_{name}", weights=None, quantize=False).eval()
        return quantised(module)
    if library == "detection":
        module = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        return _Batched(module.eval()).eval(), (torch.rand(1, 3, 128, 128),)
    shape = (1, 3, 16, 224, 224) if name.startswith("mvit") else (1, 3, 8, 64, 64)
    example = torch.rand(shape if library == "video" else (1, 3, 64, 64))
    kwargs = {"weights_backbone": None} if library == "segmentation" else {}
    return settled(torchvision.models.get_model(name, weights=None, **kwargs), (example,))


class _Batched(torch.nn.Module):
    """torchvision's detectors take a list of images."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(list(x))


def settled(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...]
) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """Set the batch norms' statistics by some runs, so that the activations neither vanish nor explode."""
    norms = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
    if norms:
        for norm in norms:
            norm.momentum = 0.5
        module.train()
        with torch.no_grad(), contextlib.suppress(ValueError):  # one value per channel cannot be normalised
            for _ in range(3):
                module(*[torch.cat([value, torch.rand_like(value)]) for value in example])
    return module.eval(), example


def quantised(module: Any) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    example = (torch.rand(1, 3, 96, 96),)
    settled(module, example)
    quantization: Any = torch.ao.quantization
    module.fuse_model()
    module.qconfig = quantization.get_default_qconfig("x86")
    quantization.prepare(module, inplace=True)
    with torch.no_grad():
        module(torch.rand(2, 3, 96, 96))
    return quantization.convert(module, inplace=True), example


SMALL = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 200,
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "n_layers": 2, "n_heads": 4,
    "dim": 64, "hidden_dim": 128, "n_embd": 64, "n_layer": 2, "n_head": 4, "num_layers": 2, "num_heads": 4, "d_kv": 16,
    "d_ff": 128, "ffn_dim": 128, "word_embed_proj_dim": 64, "num_key_value_heads": 2, "embedding_size": 64,
    "use_cache": False, "image_size": 64, "true_hidden_size": 64, "head_dim": 16,
}  # fmt: skip


def make_transformer(name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    transformers = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    base = name.removesuffix("Encoder")
    config_class = getattr(transformers, f"{base}Config")
    known = vars(config_class())
    deep = name in ("Swin", "Segformer", "MobileBert", "Whisper")  # these do not go together with the small sizes
    changes = {} if deep else {key: value for key, value in SMALL.items() if key in known}
    config = config_class(**changes)
    module = getattr(transformers, f"{name}Model")(config).eval()
    if name in ("ViT", "DeiT", "Swin", "Segformer"):
        size = getattr(config, "image_size", 64) if name != "Segformer" else 64
        return module, (torch.rand(1, 3, size, size),)
    if name == "Whisper":
        return module.get_encoder().eval(), (torch.rand(1, config.num_mel_bins, 3000),)
    return module, (torch.randint(2, min(config.vocab_size, 200), (1, 12)),)


if __name__ == "__main__":
    sys.exit(main())
