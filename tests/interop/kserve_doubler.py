"""A model on KServe's own ModelServer, no Kubernetes: twice its input, and the input's sums. usage: FILE PORT"""

from __future__ import annotations

import sys

from kserve import InferOutput, InferResponse, Model, ModelServer


class Doubler(Model):
    def __init__(self):
        super().__init__("doubler")
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):  # noqa: ARG002
        x = payload.inputs[0].as_numpy()
        arrays = {"y": x * 2, "sums": x.sum(axis=1)}
        outputs = []
        for name, array in arrays.items():
            outputs.append(InferOutput(name, list(array.shape), "FP32"))
            outputs[-1].set_data_from_numpy(array, binary_data=True)
        return InferResponse(payload.id, "doubler", outputs)


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False).start([Doubler()])
