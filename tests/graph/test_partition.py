from __future__ import annotations

import threading

import pytest
import structlog
import torch
from torch import nn
from torch.nn import functional

from midcut.config.settings import Capture
from midcut.errors import ConfigError, CutError, GraphError, MalformedError
from midcut.graph.verify import same_bits

CAPTURES = [Capture.fx, Capture.export]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)

    def forward(self, x):
        inner = torch.relu(self.first(x))
        return self.second(inner) + x


class Branches(nn.Module):
    """Three branches of different width, an extra input, and a dictionary as output."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(3, 5, 3, padding=1)
        self.deep = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(2, 4, 3, padding=1))
        self.scale = nn.Parameter(torch.rand(3, 1, 1))

    def forward(self, image, gain):
        parts = torch.cat([self.wide(image), self.deep(image), image * self.scale], dim=1)
        return {"map": parts * gain, "mean": [parts.mean((2, 3))]}


class Views(nn.Module):
    """The batch size crosses as an int while the convolution runs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.head = nn.Linear(72, 3)

    def forward(self, x):
        batch = x.size(0)
        y = self.conv(x)
        return self.head(y.view(batch, -1))


class Sliced(nn.Module):
    """A slice assignment has no data edge of its own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x):
        y = self.inner(x)
        y[:, 1:3] = y[:, 3:5] * 2
        return self.inner(y)


class Permuted(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.conv = nn.Conv2d(32, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        y = self.norm(x.permute(0, 2, 3, 1))
        return self.last(self.conv(y.permute(0, 3, 1, 2)).mean(-1, keepdim=True))


class Halves(nn.Module):
    """Half of a tensor waits, as a strided view, while the other half is worked on."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        left, right = x.chunk(2, dim=1)
        return torch.cat([left, functional.relu_(self.conv(right))], dim=1).sum((2, 3))


class Bumps(nn.Module):
    """Writes into its input, and again later."""

    def forward(self, x):
        y = x.mul_(2.0)
        z = y.sum(1, keepdim=True)
        return x.add_(1.0) + z


class WritesThroughView(nn.Module):
    """A view and its base both cross a cut; the base is then written, which must show in the view."""

    def __init__(self):
        super().__init__()
        self.before = nn.Sequential(*[nn.ReLU() for _ in range(20)])
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        base = self.inner(self.before(x))
        view = base[:, :2]
        twice = base * 2
        base.add_(1.0)
        return view + twice[:, :2]


TOYS = {
    "residual": (Residual, [(1, 8)]),
    "branches": (Branches, [(1, 3, 6, 6), (1, 1, 1, 1)]),
    "views": (Views, [(1, 1, 8, 8)]),
    "permuted": (Permuted, [(1, 32, 7, 7)]),
    "halves": (Halves, [(1, 8, 5, 5)]),
    "bumps": (Bumps, [(1, 4)]),
}


def make(toy):
    kind, shapes = TOYS[toy]
    return kind().eval(), [torch.rand(shape) for shape in shapes]


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("toy", TOYS)
def test_every_cut_of_every_toy_is_exact_also_at_another_batch_size(toy, capture, cut_up, assert_exact):
    module, inputs = make(toy)
    parts = cut_up(module, *inputs, capture=capture)
    assert parts.table.capture == capture.value
    assert_exact(parts, module, *inputs)
    assert_exact(parts, module, *[torch.rand(5, *value.shape[1:]) for value in inputs])


def test_a_slice_assignment_is_not_lost(cut_up, assert_exact):
    module, x = Sliced().eval(), torch.rand(1, 6)
    parts = cut_up(module, x)
    assert parts.table.capture == "export", "fx cannot trace it, and must not pretend"
    assert_exact(parts, module, x)
    assert_exact(parts, module, torch.rand(4, 6))


def test_residual_payload_is_both_tensors_until_they_meet(cut_up):
    module, inputs = make("residual")
    table = cut_up(module, *inputs).table
    assert [node.op for node in table.nodes] == ["Linear", "relu", "Linear", "add"]
    assert [[value.name for value in cut.values] for cut in table.cuts] == [
        ["x"],
        ["x", "first"],
        ["x", "relu"],
        ["x", "second"],
        ["add"],
    ]
    assert [cut.payload_bytes for cut in table.cuts] == [32, 64, 64, 64, 32]
    assert [cut.layer for cut in table.cuts] == [0, 1, 1, 2, 2]
    assert [cut.ends_module for cut in table.cuts] == [False, True, False, True, False]
    assert [node.module for node in table.nodes] == ["first", "", "second", ""]


def test_an_int_crosses_as_an_int(cut_up):
    module, inputs = make("views")
    parts = cut_up(module, *inputs)
    cut = next(cut for cut in parts.table.cuts if any(value.dtype == "int" for value in cut.values))
    x = torch.rand(3, 1, 8, 8)
    payload = parts.head(cut.index, (x,))
    assert [type(value) for value in payload if not isinstance(value, torch.Tensor)] == [int]
    assert 3 in [value for value in payload if isinstance(value, int)]


def test_output_comes_back_in_the_modules_own_structure(cut_up):
    module, inputs = make("branches")
    parts = cut_up(module, *inputs)
    output = parts.assemble(parts.tail(0, inputs))
    assert sorted(output) == ["map", "mean"]
    assert isinstance(output["mean"], list)
    assert output["map"].shape == (1, 12, 6, 6)


@pytest.mark.parametrize("toy", TOYS)
def test_values_passed_in_are_never_written_to(toy, cut_up):
    module, inputs = make(toy)
    parts = cut_up(module, *inputs)
    for cut in parts.legal:
        payload = parts.head(cut, inputs)
        copies = [value.clone() if isinstance(value, torch.Tensor) else value for value in payload]
        first = parts.tail(cut, payload)
        assert same_bits(payload, tuple(copies)), f"cut {cut}"
        assert same_bits(parts.tail(cut, payload), first), f"cut {cut}: a second run differs"


def test_a_write_through_a_view_across_a_cut_is_refused_and_the_node_is_named(cut_up, assert_exact):
    module, x = WritesThroughView().eval(), torch.rand(1, 4)
    parts = cut_up(module, x)
    assert [node.name for node in parts.table.nodes][20:] == ["inner", "getitem", "mul", "add_", "getitem_1", "add"]
    assert sorted(parts.refused) == [22, 23]
    assert parts.legal == (*range(22), 24, 25, 26)
    assert "'getitem' after node 23 ('add_'), by up to 1.0e+00" in parts.refused[22]
    assert_exact(parts, module, x)
    with pytest.raises(CutError, match="cut 22 of model 'toy' is not offered: its tail differs"):
        parts.check_values(22, parts.head(22, (x,)))


def test_where_one_tracer_leaves_few_cuts_the_other_is_taken_and_it_says_why(cut_up, assert_exact):
    module, x = WritesThroughView().eval(), torch.rand(1, 4)
    module.before = nn.Identity()
    with structlog.testing.capture_logs() as logs:
        parts = cut_up(module, x)
    assert (parts.table.capture, parts.refused) == ("export", {})
    (line,) = [entry for entry in logs if entry["event"] == "captured by the other tracer"]
    assert line["reason"] == f"{parts.table.last + 1} of {parts.table.last + 1} cuts, fx has 6 of 8"
    assert_exact(parts, module, x)


def test_a_functional_graph_can_be_cut_where_writing_in_place_could_not(cut_up, assert_exact):
    module, x = WritesThroughView().eval(), torch.rand(1, 4)
    parts = cut_up(module, x, capture=Capture.export)
    assert not parts.refused
    assert_exact(parts, module, x)


def test_without_verification_nothing_is_compared(cut_up):
    assert not cut_up(WritesThroughView(), torch.rand(1, 4), verify=False).refused


class TupleAcross(nn.Module):
    def forward(self, x):
        values, places = torch.max(x, dim=1)
        pair = torch.sort(x, dim=1)
        y = x * 2
        return y + pair[0] + values.unsqueeze(1), places


def test_a_tuple_crosses_as_its_items(cut_up, assert_exact):
    module, x = TupleAcross().eval(), torch.rand(1, 4)
    parts = cut_up(module, x)
    assert not parts.refused
    names = {value.name for cut in parts.table.cuts for value in cut.values}
    assert {"sort.0", "sort.1"} <= names
    assert_exact(parts, module, x)
    assert_exact(parts, module, torch.rand(3, 4))


class ShapeLater(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        shape = x.shape
        y = self.conv(x)
        y = torch.relu(y)
        return y.reshape(shape[0], shape[1] * shape[2] * shape[3])


def test_a_shape_used_much_later_crosses_as_ints(cut_up, assert_exact):
    module, x = ShapeLater().eval(), torch.rand(1, 1, 4, 4)
    parts = cut_up(module, x)
    conv = [node.op for node in parts.table.nodes].index("Conv2d")
    assert conv + 1 in parts.legal
    assert [value.dtype for value in parts.table.cuts[conv + 1].values].count("int") == 4
    assert_exact(parts, module, torch.rand(2, 1, 4, 4))


class Branchy(nn.Module):
    """Control flow on the data's shape and a default argument: fx cannot, export can."""

    def forward(self, x, flip: bool = False):
        if flip:
            x = x.flip(0)
        for row in range(x.shape[1]):
            x = x + row
        return torch.relu(x)


def test_the_other_tracer_is_tried_where_the_first_fails(cut_up, assert_exact):
    module, x = Branchy().eval(), torch.rand(1, 3)
    parts = cut_up(module, x)
    assert parts.table.capture == "export"
    assert_exact(parts, module, torch.rand(4, 3))


class Optional(nn.Module):
    def forward(self, x, mask=None, scale=2.0):
        y = x * scale
        return y if mask is None else y * mask


def test_arguments_the_example_leaves_out_keep_their_defaults(cut_up, assert_exact):
    module, x = Optional().eval(), torch.rand(1, 3)
    parts = cut_up(module, x)
    assert parts.table.capture == "fx"
    assert_exact(parts, module, torch.rand(2, 3))


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls.add_(1)
        return x * self.calls


class Random(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class DataDependent(nn.Module):
    def forward(self, x):
        return x * 2 if bool(x.sum() > 0) else x - 1


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Counts(), "Counts keeps 'calls' from one call to the next"),
        (Random(), "another answer to the same input each time"),
        (
            DataDependent(),
            r"cannot be captured; fx cannot capture DataDependent: it branches on .*; export cannot capture",
        ),
    ],
)
def test_what_is_not_a_fixed_function_of_its_input_is_refused(module, message, cut_up):
    with pytest.raises(GraphError, match=message) as caught:
        cut_up(module, torch.rand(1, 3))
    assert "\n" not in str(caught.value)


def test_training_mode_is_refused(cut_up):
    class Stubborn(nn.Linear):
        def eval(self):
            return self

    with pytest.raises(GraphError, match="call eval"):
        cut_up(Stubborn(2, 2), torch.rand(1, 2))


@pytest.mark.parametrize("capture", CAPTURES)
def test_weights_are_shared_not_copied(capture, cut_up):
    module, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), torch.rand(1, 4)
    parts = cut_up(module, x, capture=capture)
    with torch.no_grad():
        module[2].weight.zero_()
        module[2].bias.fill_(7.0)
    assert parts.tail(0, (x,))[0].tolist() == [[7.0, 7.0]]


def test_capturing_leaves_the_module_as_it_was(cut_up):
    class Constant(nn.Module):
        def forward(self, x):
            return x + torch.tensor([1.0, 2.0])

    module, x = Constant().eval(), torch.rand(1, 2)
    before = set(vars(module))
    parts = cut_up(module, x)
    assert set(vars(module)) == before
    assert torch.equal(parts.tail(0, (x,))[0], x + torch.tensor([1.0, 2.0]))


def test_many_threads_at_once_get_their_own_answers(cut_up):
    module, _ = make("bumps")
    parts = cut_up(module, torch.rand(1, 4))
    inputs = [torch.full((2, 4), float(number)) for number in range(8)]
    wrong = []

    def work(number):
        for turn in range(100):
            cut = parts.legal[turn % len(parts.legal)]
            got = parts.tail(cut, parts.head(cut, (inputs[number],)))[0]
            # 2x + 1 + (2x * 4) for every element
            if not torch.equal(got, torch.full((2, 4), 10.0 * number + 1.0)):
                wrong.append((number, cut))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_stretches_join_up(cut_up):
    module, inputs = make("branches")
    parts = cut_up(module, *inputs)
    values = tuple(inputs)
    for cut in range(parts.node_count):
        values = parts.run(cut, cut + 1, values)
    assert same_bits(values, parts.tail(0, inputs))
    assert parts.run(3, 3, parts.head(3, inputs)) is not None
    for start, stop in [(-1, 2), (3, 2), (0, parts.node_count + 1)]:
        with pytest.raises(CutError, match="has cuts 0 to"):
            parts.run(start, stop, inputs)


def test_no_gradient_is_recorded(cut_up):
    parts = cut_up(nn.Linear(2, 2), torch.rand(1, 2))
    assert not parts.tail(0, (torch.rand(1, 2),))[0].requires_grad


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "takes 2 values, got 0"),
        ([torch.rand(1, 8)], "takes 2 values, got 1"),
        ([torch.rand(2, 8), torch.rand(3, 8)], r"'first' has shape \[3, 8\], expected \[B, 8\] with batch B = 2"),
        ([torch.rand(1, 8), torch.rand(1, 9)], r"'first' has shape \[1, 9\], expected \[B, 8\]"),
        ([torch.rand(1, 8), torch.rand(8)], r"'first' has 1 dimensions, expected \[B, 8\]"),
        ([torch.rand(0, 8), torch.rand(0, 8)], "with batch B = 0"),
        ([torch.rand(1, 8), torch.rand(1, 8).double()], "'first' must be float32, got float64"),
        ([torch.rand(1, 8), 3], "'first' must be a float32 tensor, got int"),
    ],
)
def test_values_that_do_not_fit_a_cut_are_refused(values, message, cut_up):
    parts = cut_up(Residual(), torch.rand(1, 8))
    parts.check_values(1, [torch.rand(4, 8), torch.rand(4, 8)])
    with pytest.raises(MalformedError, match=message):
        parts.check_values(1, values)


def test_an_int_must_agree_with_the_batch(cut_up):
    module, inputs = make("views")
    parts = cut_up(module, *inputs)
    cut = next(cut for cut in parts.table.cuts if any(value.dtype == "int" for value in cut.values))
    values = list(parts.head(cut.index, (torch.rand(3, 1, 8, 8),)))
    place = [isinstance(value, int) for value in values].index(True)
    parts.check_values(cut.index, values)
    for bad, message in [
        (2, "has value 2|with batch B = 2"),
        (True, "must be an int, got bool"),
        (-1, "batch B|value -1"),
    ]:
        values[place] = bad
        with pytest.raises(MalformedError, match=message):
            parts.check_values(cut.index, values)


def test_a_model_that_takes_one_batch_size_only_says_so(cut_up, assert_exact):
    class Fixed(nn.Module):
        def forward(self, x):
            return torch.relu(x).view(1, 6)

    module, x = Fixed().eval(), torch.rand(1, 2, 3)
    parts = cut_up(module, x)
    assert_exact(parts, module, x)
    with pytest.raises(MalformedError, match=r"'x' has shape \[2, 2, 3\], expected \[1, 2, 3\]"):
        parts.check_values(0, [torch.rand(2, 2, 3)])


def test_no_legal_cut_is_a_config_error(cut_up):
    with pytest.raises(ConfigError, match="no cut of model 'toy' is left"):
        cut_up(Residual(), torch.rand(1, 8), single_tensor=True, first_cut=1, last_cut=3)


def test_refused_cuts_are_logged_once_with_the_first_reasons(cut_up):
    with structlog.testing.capture_logs() as logs:
        cut_up(WritesThroughView(), torch.rand(1, 4))
        cut_up(Residual(), torch.rand(1, 8))
    (event,) = [entry for entry in logs if entry["event"] == "cuts not offered"]
    assert (event["log_level"], event["model"], event["count"], sorted(event["cuts"])) == (
        "warning",
        "toy",
        2,
        [22, 23],
    )
    assert "its tail differs" in event["cuts"][22]


@pytest.mark.parametrize("module", [Residual(), nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))])
def test_a_warm_up_needs_no_input_and_changes_nothing(module, cut_up):
    example = torch.rand(1, 8) if isinstance(module, Residual) else torch.tensor([[4, 1]])
    parts = cut_up(module, example)
    before = parts.tail(0, [example])
    with structlog.testing.capture_logs() as logs:
        parts.warm_up()
    assert logs == []
    assert same_bits(parts.tail(0, [example]), before)
