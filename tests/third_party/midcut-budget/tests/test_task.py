import torch
from midcut_budget.task import Above

from midcut.testing import TaskSuite


class TestAbove(TaskSuite):
    def make(self):
        return Above(class_names=("cat", "dog"), share=0.2)

    def outputs(self):
        return {"logits": torch.tensor([[2.0, 1.5, -3.0]])}
