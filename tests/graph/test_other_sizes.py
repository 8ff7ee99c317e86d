"""Inputs of other sizes than the example's: every cut gives the unsplit model's bits, or one line says why not."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn
from torch.nn import functional

from midcut.config.settings import Capture, CutSettings
from midcut.errors import GraphError, MalformedError, OutOfMemoryError
from midcut.graph import partition, sizes
from midcut.tensors import as_received
from midcut.types import LoadedModel, ShapeRange

pytestmark = pytest.mark.usefixtures("single_threaded")


class Segmenter(nn.Module):
    """Fully convolutional; a chunk and a crop leave tensors with gaps in memory."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.second = nn.Conv2d(4, 8, 3, 1, 1)
        self.classes = nn.Conv2d(4, 2, 1)

    def forward(self, image):
        size = image.shape[-2:]
        left, right = functional.silu(self.first(image)).chunk(2, 1)
        features = self.second(left)[:, :, 1:-1, 1:-1].chunk(2, 1)[1]
        mixed = features + right[:, :, 1:-1, 1:-1]
        return {"out": functional.interpolate(self.classes(mixed), size=size, mode="bilinear")}


class Text(nn.Module):
    """Token ids and a mask; positions are a table that grows with the longest input."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.attention = nn.Linear(16, 48)
        self.out = nn.Linear(16, 5)
        self.table = torch.zeros(0, 16)

    def forward(self, ids, mask):
        length = ids.shape[1]
        if self.table.shape[0] < 64:
            self.table = torch.sin(torch.arange(64.0)[:, None] / torch.arange(1.0, 17.0))
        values = self.embed(ids) + self.table[:length]
        query, key, value = self.attention(values).chunk(3, -1)
        scores = query @ key.transpose(1, 2) / 4 + (1 - mask[:, None, :]) * -1e4
        return self.out(scores.softmax(-1) @ value), scores.mean(-1)


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 2, 2), nn.ConvTranspose2d(4, 1, 2, 2)

    def forward(self, image):
        return self.up(self.down(image)) + image


class Branching(nn.Module):
    """Takes another way for some sizes in the middle of the range."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, rows):
        values = self.layer(rows)
        return -values if 20 < rows.shape[1] < 30 else values


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(2 * 8 * 8, 3)

    def forward(self, image):
        return self.head(self.body(image).flatten(1))


def seeded(kind):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return kind().eval()


def cut(kind, example, ranges, **settings):
    model = LoadedModel("net", seeded(kind), example, lambda _: example[0], ranges=ranges)
    return partition(model, CutSettings(**settings))


def leaves(output):
    return (
        list(output.values()) if isinstance(output, dict) else list(output) if isinstance(output, tuple) else [output]
    )


def differing(parts, inputs, module):
    """Cuts whose tail, on values that crossed the wire, gives other bits than the unsplit model."""
    found = parts.make_for_shapes(tuple(tuple(value.shape) for value in inputs))
    with torch.inference_mode():
        expected = leaves(module(*inputs))
    wrong = []
    for at in found.legal:
        payload = [as_received(v) if isinstance(v, torch.Tensor) else v for v in found.head(at, inputs)]
        found.check_values(at, payload)
        got = leaves(found.assemble(found.tail(at, payload)))
        if not all(torch.equal(a, b) for a, b in zip(got, expected, strict=True)):
            wrong.append(at)
    return wrong, len(found.legal)


IMAGES = (ShapeRange((3, 16, 16), (3, 96, 96)),)


def test_a_fully_convolutional_network_takes_images_of_other_sizes_at_every_cut():
    parts = cut(Segmenter, (torch.rand(1, 3, 32, 32),), IMAGES)
    module = seeded(Segmenter)
    assert parts.table.capture == "fx"
    for shape in ((1, 3, 32, 32), (1, 3, 47, 21), (1, 3, 96, 16), (3, 3, 18, 30)):
        assert differing(parts, (torch.rand(shape),), module) == ([], len(parts.legal)), shape


def test_a_token_model_takes_other_lengths_at_every_cut_and_is_left_as_it_was():
    lengths = ShapeRange((1,), (60,))
    model = LoadedModel(
        "net", seeded(Text), (torch.arange(1, 9)[None], torch.ones(1, 8)), lambda _: None, ranges=(lengths, lengths)
    )
    parts = partition(model, CutSettings())
    for batch, length in ((1, 8), (1, 1), (1, 33), (2, 60)):
        mask = torch.ones(batch, length)
        mask[:, length // 2 + 1 :] = 0.0
        inputs = (torch.randint(0, 50, (batch, length)), mask)
        assert differing(parts, inputs, seeded(Text)) == ([], len(parts.legal)), length
    assert model.module.table.shape == (64, 16)
    with pytest.raises(MalformedError, match=r"does not take inputs of shape \[1, 9\] and shape \[1, 8\]: Text fails"):
        parts.make_for_shapes(((1, 9), (1, 8)))


def test_a_size_out_of_range_is_one_line_that_names_the_sizes():
    parts = cut(Segmenter, (torch.rand(1, 3, 32, 32),), IMAGES)
    for shape in ((1, 3, 97, 32), (1, 3, 32, 15), (1, 4, 32, 40), (0, 3, 40, 40), (1, 3, 40), ()):
        with pytest.raises(MalformedError) as error:
            parts.make_for_shapes((shape,))
        assert str(error.value) == (
            f"model 'net': input 'image' has shape {list(shape)}, it takes [B, 3, 16 to 96, 16 to 96]"
        )


def test_a_size_that_the_model_does_not_take_is_refused_and_not_tried_again():
    module = seeded(Unet)
    example = (torch.rand(1, 1, 8, 8),)
    parts = partition(
        LoadedModel("net", module, example, lambda _: None, ranges=(ShapeRange((1, 4, 4), (1, 64, 64)),)), CutSettings()
    )
    assert differing(parts, (torch.rand(1, 1, 10, 64),), module)[0] == []
    runs = []
    module.register_forward_hook(lambda *_: runs.append(1))
    for _ in range(2):
        with pytest.raises(MalformedError, match=r"does not take inputs of shape \[1, 1, 9, 8\]: Unet fails on these"):
            parts.make_for_shapes(((1, 1, 9, 8),))
    assert not runs


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_lack_of_memory_says_nothing_of_a_size_which_is_tried_again(error, monkeypatch):
    module, calls = seeded(Unet), []
    ranges = (ShapeRange((1, 4, 4), (1, 64, 64)),)
    parts = partition(
        LoadedModel("net", module, (torch.rand(1, 1, 8, 8),), lambda _: None, ranges=ranges), CutSettings()
    )

    def exhausted(*_):
        calls.append(1)
        raise error

    hook = module.register_forward_pre_hook(exhausted)
    with pytest.raises(OutOfMemoryError, match="no memory for inputs of"):
        parts.make_for_shapes(((1, 1, 12, 8),))
    tried = len(calls)
    with pytest.raises(OutOfMemoryError, match="no memory for inputs of"):  # not captured anew for each request
        parts.make_for_shapes(((1, 1, 12, 8),))
    assert len(calls) == tried
    hook.remove()
    monkeypatch.setattr(sizes, "monotonic", lambda: time.monotonic() + 61.0)
    assert differing(parts, (torch.rand(1, 1, 12, 8),), module)[0] == []


def test_a_size_at_which_the_module_takes_another_way_is_refused_and_never_wrong():
    parts = cut(Branching, (torch.rand(1, 10, 4),), (ShapeRange((2, 4), (50, 4)),))
    assert differing(parts, (torch.rand(1, 40, 4),), seeded(Branching))[0] == []
    with pytest.raises(MalformedError, match="the captured graph does not give the module's own output"):
        parts.make_for_shapes(((1, 25, 4),))


def test_a_model_with_its_size_built_in_is_refused_at_load():
    with pytest.raises(GraphError, match=r"cannot be captured; fx: .*Flat fails on these sizes.*") as error:
        cut(Flat, (torch.rand(1, 1, 8, 8),), (ShapeRange((1, 8, 8), (1, 16, 16)),))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("low", "high"), [((3, 33, 16), (3, 96, 96)), ((3, 16, 16), (3, 96)), ((3, 0, 16), (3, 96, 96)), ((3,), (3, 9, 9))]
)
def test_ranges_that_the_example_is_not_in_are_refused(low, high):
    with pytest.raises(GraphError, match="must be in this order in each dimension"):
        cut(Segmenter, (torch.rand(1, 3, 32, 32),), (ShapeRange(low, high),))


def test_both_sides_must_take_the_same_sizes():
    example = (torch.rand(1, 3, 32, 32),)
    fixed, some, others, again = (
        cut(Segmenter, example, ranges).table.fingerprint
        for ranges in ((), IMAGES, (ShapeRange((3, 16, 16), (3, 96, 95)),), IMAGES)
    )
    assert some == again
    assert len({fixed, some, others}) == 3


@pytest.mark.parametrize("capture", list(Capture))
def test_a_model_from_the_cache_takes_the_same_sizes(tmp_path, capture):
    example = (torch.rand(1, 3, 32, 32),)
    made, restored = (cut(Segmenter, example, IMAGES, capture=capture, cache=str(tmp_path)) for _ in range(2))
    assert restored.table == made.table
    assert made.table.capture == capture.value
    assert differing(restored, (torch.rand(1, 3, 40, 50),), seeded(Segmenter)) == ([], len(made.legal))
    narrower = cut(Segmenter, example, (ShapeRange((3, 16, 16), (3, 40, 40)),), capture=capture, cache=str(tmp_path))
    with pytest.raises(MalformedError, match="16 to 40"):
        narrower.make_for_shapes(((1, 3, 41, 40),))


def test_work_and_bytes_grow_with_the_size():
    parts = cut(Segmenter, (torch.rand(1, 3, 32, 32),), IMAGES)
    large = parts.make_for_shapes(((1, 3, 64, 64),))
    assert large.table.cuts[0].payload_bytes == 4 * parts.table.cuts[0].payload_bytes
    convolutions = [i for i, node in enumerate(parts.table.nodes) if node.op == "Conv2d"]
    assert large.table.nodes[convolutions[0]].macs == 4 * parts.table.nodes[convolutions[0]].macs
    assert large.table.fingerprint == parts.table.fingerprint
    assert parts.table.largest_growth == 9.0
