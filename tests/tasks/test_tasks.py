"""Tasks against values computed by hand, brute force, and the contract suite."""

from __future__ import annotations

import base64
import io
import math

import msgspec
import numpy as np
import pytest
import structlog
import torch
from PIL import Image

from midcut.errors import ConfigError
from midcut.testing import TaskSuite
from midcut_tasks.auto import Auto
from midcut_tasks.classification import Classification
from midcut_tasks.config import Activation, BoxFormat
from midcut_tasks.detection import Detection, suppress
from midcut_tasks.embedding import Embedding
from midcut_tasks.segmentation import Segmentation
from midcut_tasks.tokens import Tokens

LOGITS = torch.tensor([[0.0, 2.0, 1.0]])
SCORES = torch.zeros(1, 3, 2, 2)
SCORES[0, 1, 0] = 5.0
SCORES[0, 2, 1, 1] = 7.0
BOXES = {
    "boxes": torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30], [0, 0, 10, 10]]),
    "scores": torch.tensor([0.8, 0.9, 0.6, 0.7]),
    "labels": torch.tensor([1, 1, 2, 2]),
}


class TestClassification(TaskSuite):
    def make(self):
        return Classification(["a", "b", "c"])

    def outputs(self):
        return {"logits": LOGITS, "features": torch.rand(1, 3, 4, 4)}

    def test_by_hand(self):
        answer = self.make().answer(self.outputs())
        assert (answer["class"], answer["label"]) == (1, "b")
        assert [entry["label"] for entry in answer["top5"]] == ["b", "c", "a"]
        assert answer["top5"][0]["probability"] == pytest.approx(np.e**2 / (1 + np.e + np.e**2))


class TestSegmentation(TaskSuite):
    def make(self):
        return Segmentation(["ground", "cat", "dog"])

    def outputs(self):
        return {"out": SCORES, "aux": SCORES * 2}

    def test_by_hand(self):
        answer = self.make().answer(self.outputs())
        shares = {entry["label"]: entry["share"] for entry in answer["classes"]}
        assert shares == {"cat": 0.5, "ground": 0.25, "dog": 0.25}
        assert answer["classes"][0]["label"] == "cat"
        picture = Image.open(io.BytesIO(base64.b64decode(answer["map"])))
        assert np.asarray(picture).tolist() == [[1, 1], [0, 2]]


class TestDetection(TaskSuite):
    def make(self):
        return Detection(["ground", "cat", "dog"])

    def outputs(self):
        return {f"output_0.{name}": value for name, value in BOXES.items()}

    def test_by_hand(self):
        objects = self.make().answer(self.outputs())["objects"]
        assert [(entry["label"], round(entry["score"], 3)) for entry in objects] == [
            ("cat", 0.9), ("dog", 0.7), ("dog", 0.6),
        ]  # fmt: skip
        assert objects[0]["box"] == [1, 1, 10, 10]


class TestEmbedding(TaskSuite):
    def make(self):
        return Embedding(normalise=True)

    def outputs(self):
        return {"output": torch.tensor([[3.0, 4.0]])}

    def test_by_hand(self):
        answer = self.make().answer(self.outputs())
        assert answer["values"] == pytest.approx([0.6, 0.8])
        assert answer["length"] == pytest.approx(5.0)


class TestTokens(TaskSuite):
    def make(self):
        return Tokens(["the", "cat", "sat"])

    def outputs(self):
        return {"logits": torch.stack([LOGITS, LOGITS.flip(1)], dim=1)}

    def test_by_hand(self):
        (last,) = self.make().answer(self.outputs())["tokens"]
        assert (last["position"], last["top"][0]["label"]) == (1, "cat")
        every = Tokens(last_only=False).answer(self.outputs())["tokens"]
        assert [entry["position"] for entry in every] == [0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_suppression_is_the_greedy_one_by_brute_force(seed):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(30, 2, generator=generator) * 10
    boxes = torch.cat([corners, corners + 1 + torch.rand(30, 2, generator=generator) * 5], dim=1)
    scores, classes = torch.rand(30, generator=generator), torch.randint(0, 2, (30,), generator=generator)
    kept = []
    for index in sorted(range(30), key=lambda i: -float(scores[i])):
        if all(classes[index] != classes[other] or iou(boxes[index], boxes[other]) <= 0.4 for other in kept):
            kept.append(index)
    assert suppress(boxes.numpy(), scores.numpy(), classes.numpy(), 0.4) == kept


def iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    inner = max(float(width), 0.0) * max(float(height), 0.0)
    sizes = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    return inner / (sum(sizes) - inner)


def test_a_detector_with_queries_and_a_class_for_no_object():
    outputs = {
        "logits": torch.tensor([[[9.0, 0.0, 0.0], [0.0, 0.0, 9.0]]]),
        "pred_boxes": torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]]),
    }
    task = Detection(["cat", "dog"], format=BoxFormat.cxcywh, activation=Activation.softmax, background=-1)
    (found,) = task.answer(outputs)["objects"]
    assert found["label"] == "cat"
    assert found["box"] == pytest.approx([0.4, 0.3, 0.6, 0.7])


@pytest.mark.parametrize("task", [Auto(["cat", "dog"]), Detection(["cat", "dog"])])
@pytest.mark.parametrize("names", [("logits", "pred_boxes"), ("output_0.pred_logits", "output_0.pred_boxes")])
def test_outputs_named_as_those_of_detr_mean_what_detr_defines(task, names):
    # Without its last class, softmax of (ln 3, 0, 0) offers 3/5; that of (0, 0, ln 8) says that there is no object.
    logits = torch.tensor([[[0.0, np.log(3), 0.0], [0.0, 0.0, np.log(8)]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    (found,) = task.answer(dict(zip(names, (logits, boxes), strict=True)))["objects"]
    assert (found["class"], found["label"]) == (1, "dog")
    assert found["score"] == pytest.approx(0.6)
    assert found["box"] == pytest.approx([0.4, 0.3, 0.6, 0.7])


def test_the_background_is_left_out_whether_classes_are_labels_or_scores():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 3.0]])
    labelled = {"boxes": boxes, "scores": torch.tensor([0.9, 0.8]), "labels": torch.tensor([0, 1])}
    scored = {"boxes": boxes, "scores": torch.tensor([[0.9, 0.0], [0.0, 0.8]])}
    for outputs in (labelled, scored):
        assert [found["class"] for found in Detection(background=0).answer(outputs)["objects"]] == [1]
    for outputs, background, words in (
        (scored, 2, "task.background=2 is none of the 2 classes"),
        (scored, -3, "task.background=-3 is none of the 2 classes"),
        (labelled, -1, "task.background=-1 has no end to count from"),
    ):
        with pytest.raises(ConfigError, match=words):
            Detection(background=background).answer(outputs)


def test_what_is_set_wins_over_what_detr_defines():
    outputs = {"logits": torch.tensor([[[0.0, 0.0, np.log(3)]]]), "pred_boxes": torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])}
    task = Detection(format=BoxFormat.xyxy, activation=Activation.sigmoid)
    (found,) = task.answer(outputs)["objects"]
    assert found == {"class": 2, "label": "", "score": pytest.approx(0.75), "box": [1.0, 2.0, 3.0, 4.0]}


@pytest.mark.parametrize("task", [Auto(), Detection()])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_batch_of_one_is_no_axis_of_boxes(task, count):
    flat = {name: value[:count] for name, value in BOXES.items()}
    expected = Detection().answer(flat)
    assert task.answer({name: value[None] for name, value in flat.items()}) == expected
    assert task.answer(flat | {"boxes": flat["boxes"][None]}) == expected


def test_the_scores_of_boxes_are_never_those_of_classes():
    outputs = {"boxes": torch.rand(2, 3, 4), "scores": torch.tensor([[0.1, 0.9, 0.3]])}
    assert Auto().answer(outputs)["task"] == "tensors"


@pytest.mark.parametrize(
    ("outputs", "task"),
    [
        ({"output": LOGITS}, None),
        ({"features": torch.rand(1, 8, 4, 4), "logits": LOGITS}, None),
        ({"output_0": LOGITS, "output_1": torch.rand(1, 4)}, None),
        ({"out": SCORES}, "segmentation"),
        (BOXES, "detection"),
        ({"logits": torch.rand(1, 5, 50)}, "tokens"),
        ({"output": torch.rand(4)}, "tensors"),
        ({"out": torch.rand(1, 0, 4, 4)}, "tensors"),
        ({"count": 3}, "tensors"),
        ({"ids": torch.arange(6).reshape(1, 6)}, "tensors"),
    ],
)
def test_the_task_is_guessed(outputs, task):
    answer = Auto().answer(outputs)
    assert answer.get("task") == task
    if task is None:
        assert answer["class"] == 1 or "logits" not in outputs


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("task", "outputs", "name", "empty"),
    [
        (Classification, {"logits": LOGITS}, "logits", {"class": None, "label": "", "top5": []}),
        (Segmentation, {"out": SCORES}, "out", {"height": 2, "width": 2, "classes": []}),
        (Segmentation, {"out": SCORES[:, :1]}, "out", {"height": 2, "width": 2, "classes": []}),
        (Detection, BOXES, "scores", {"objects": []}),
        (Detection, BOXES, "boxes", {"objects": []}),
        (Detection, {"pred_boxes": torch.rand(1, 2, 4), "logits": torch.rand(1, 2, 3)}, "logits", {"objects": []}),
        (Embedding, {"output": torch.rand(1, 4)}, "output", {"values": [], "length": None}),
        (Tokens, {"logits": torch.rand(1, 2, 5)}, "logits", {"tokens": []}),
    ],
)
def test_what_is_not_finite_gets_no_class_and_a_reason_that_is_logged_once(task, outputs, name, empty, bad):
    broken = outputs[name].clone()
    broken[..., -1] = bad
    made = task()
    with structlog.testing.capture_logs() as logs:
        answers = [made.answer(outputs | {name: broken}) for _ in range(2)]
    assert [log["log_level"] for log in logs] == ["warning"]
    assert answers[0] == answers[1]
    assert msgspec.json.decode(msgspec.json.encode(answers[0])) == answers[0]
    assert "are not finite" in answers[0].pop("reason")
    assert {key: value for key, value in answers[0].items() if key != "task"} == empty
    assert "reason" not in made.answer(outputs)


def test_a_class_that_is_masked_by_minus_infinity_is_never_chosen():
    answer = Classification().answer({"logits": torch.tensor([[-math.inf, 0.0, 0.0]])})
    assert (answer["class"], answer["top5"][0]["probability"], answer["top5"][2]["probability"]) == (1, 0.5, 0.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Classification(output="nope").answer({"a": LOGITS}), "task.output=nope is no output"),
        (lambda: Segmentation().answer({"a": LOGITS}), "there are: a float32"),
        (lambda: Detection().answer({"a": LOGITS}), "task.boxes must name an output"),
        (lambda: Detection().answer({"boxes": torch.rand(1, 0, 4), "scores": torch.rand(1, 0, 0)}), "needs boxes"),
        (lambda: Detection().answer(BOXES | {"labels": torch.zeros(3)}), "needs a label for each of 4 boxes"),
        (lambda: Detection(boxes="a", scores="a").answer({"a": LOGITS}), "needs boxes"),
    ],
)
def test_outputs_that_do_not_fit_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize("settings", [{"min_score": 2.0}, {"max_iou": -0.1}, {"most": 0}])
def test_settings_out_of_bounds_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Detection(**settings)
