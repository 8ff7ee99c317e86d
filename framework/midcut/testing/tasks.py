"""Contract suite for tasks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from midcut.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midcut.protocols import Task


class TaskSuite:
    """The contract of `midcut.protocols.Task`. Subclass it and implement `make` and `outputs`."""

    def make(self) -> Task:
        raise NotImplementedError

    def outputs(self) -> Mapping[str, Any]:
        """Give outputs of a model that does this task."""
        raise NotImplementedError

    def test_its_answer_can_be_sent_as_json(self) -> None:
        answer = dict(self.make().answer(self.outputs()))
        assert msgspec.json.decode(msgspec.json.encode(answer)) == answer
        assert all(isinstance(name, str) for name in answer)

    def test_zeros_are_answered(self) -> None:
        zeros = {name: value * 0 for name, value in self.outputs().items()}
        assert self.make().answer(zeros)

    def test_it_changes_no_output_and_answers_the_same_again(self) -> None:
        task, outputs = self.make(), self.outputs()
        before = copy.deepcopy(dict(outputs))
        assert task.answer(outputs) == task.answer(outputs)
        assert all(_same(outputs[name], before[name]) for name in before)

    def test_outputs_of_another_task_are_refused_in_one_line(self) -> None:
        import torch

        with pytest.raises(ConfigError) as caught:
            self.make().answer({"unknown": torch.zeros(2, 3, 4, 5, 6)})
        assert "\n" not in str(caught.value)


def _same(one: Any, other: Any) -> bool:
    import torch

    return torch.equal(torch.as_tensor(one), torch.as_tensor(other))
