from __future__ import annotations

from midcut.testing import ModelSuite
from midcut_models.classification import Torchvision
from midcut_models.mnist import Mnist
from midcut_models.module import Module


class TestTorchvision(ModelSuite):
    def make(self):
        return Torchvision(name="squeezenet1_1")


class TestMnist(ModelSuite):
    def make(self):
        return Mnist(name="mnist")


class TestModule(ModelSuite):
    def make(self):
        return Module(
            name="module",
            path="torch.nn.Conv2d",
            kwargs={"in_channels": 3, "out_channels": 2, "kernel_size": 3},
            input_shapes=[[3, 16, 16]],
            inputs={},
            weights=None,
            seed=0,
            mean=[0.0],
            std=[1.0],
            labels=None,
        )
