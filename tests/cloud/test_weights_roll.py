"""Two sets of weights of one model in one cloud, with edges of both, as processes; asked by Triton's client."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import midcut_models
from midcut_models.mnist import Mnist

triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http], of the extra dev")
SHIPPED = Path(midcut_models.__file__).parent / "mnist.safetensors"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@contextmanager
def server(folder, verb, *overrides):
    """A cloud or an edge; yields a function that waits until it listens and returns its address."""
    command = [sys.executable, "-m", "midcut.cli", verb, "cuts.verify=false", *overrides]
    with (folder / f"{verb}.err").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=ENVIRONMENT)

        def address():
            line = process.stdout.readline()
            assert "ready on http://" in line, (folder / f"{verb}.err").read_text()
            return line.partition("ready on http://")[2].split()[0]

        try:
            yield address
        finally:
            process.kill()
            process.wait(60)
            process.stdout.close()


def client(address):
    return triton.InferenceServerClient(address, network_timeout=120)


def ask(asked, pixels, version=""):
    given = triton.InferInput("input", list(pixels.shape), "FP32")
    given.set_data_from_numpy(pixels)
    return asked.infer("mnist", [given], model_version=version)


def whole(weights, pixels):
    """What the network answers that nobody cut."""
    with torch.inference_mode():
        return Mnist(name="mnist", weights=str(weights)).load().module(torch.from_numpy(pixels)).numpy()


def states(cloud):
    return {entry["version"]: entry["state"] for entry in cloud.get_model_repository_index()}


def test_edges_with_old_and_new_weights_are_served_by_one_cloud_which_loads_while_it_answers(tmp_path):
    old, new = tmp_path / "repository/mnist/old.safetensors", tmp_path / "repository/mnist/new.safetensors"
    old.parent.mkdir(parents=True)
    save_file(load_file(SHIPPED), old)
    scaled = {name: value * 1.25 for name, value in load_file(SHIPPED).items()}
    pixels = np.random.default_rng(5).random((1, 1, 28, 28), np.float32)
    with ExitStack() as stack:
        settings = ("model=[]", "server.port=0", f"repository.folder={tmp_path}/repository")
        cloud_address = stack.enter_context(server(tmp_path, "cloud", *settings))()
        cloud = client(cloud_address)
        (first,) = states(cloud)
        answers, loaded = [], threading.Event()

        def keep_asking():
            mine = client(cloud_address)
            while not loaded.is_set():
                answers.append(ask(mine, pixels, first).as_numpy("output"))
                loaded.wait(0.02)

        asking = threading.Thread(target=keep_asking)
        asking.start()
        save_file(scaled, new)
        cloud.load_model("mnist")
        loaded.set()
        asking.join(60)
        assert len(answers) > 10
        expected = whole(old, pixels)
        assert all(np.array_equal(answer, expected) for answer in answers)

        (second,) = set(states(cloud)) - {first}
        assert states(cloud) == {first: "READY", second: "READY"}
        assert np.array_equal(ask(cloud, pixels).as_numpy("output"), whole(new, pixels))  # the newest one

        starting = [
            stack.enter_context(
                server(
                    tmp_path,
                    "edge",
                    "model=mnist",
                    "input.port=0",
                    f"model.mnist.weights={weights}",
                    "executor=native",  # to the bit, also where the edge finishes alone
                    "cuts.last_cut=2",  # only the cloud has a tail
                    f"cloud_url=http://{cloud_address}",
                )
            )
            for weights in (old, new)
        ]
        edges = [client(address()) for address in starting]
        for edge, weights in zip(edges, (old, new), strict=True):
            answer = ask(edge, pixels)
            assert answer.get_response()["parameters"]["finished_by"] == "cloud"
            assert np.array_equal(answer.as_numpy("output"), whole(weights, pixels))

        cloud.unload_model("mnist", query_params={"version": first})
        assert states(cloud) == {second: "READY", "old.safetensors": "UNAVAILABLE"}
        for edge, weights, by in zip(edges, (old, new), ("edge", "cloud"), strict=True):
            answer = ask(edge, pixels)
            assert answer.get_response()["parameters"]["finished_by"] == by
            assert np.array_equal(answer.as_numpy("output"), whole(weights, pixels))
