"""Digests by which two sides notice that they make different inputs of one file.

Decoders of lossy formats may differ in the last bits (libjpeg and libjpeg-turbo upsample colours differently), and so
may the resizing of a model's preprocessing. Each side decodes and preprocesses the same small files, in all their
variants, and compares what comes out bit by bit.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache, cached_property
from importlib import resources
from time import perf_counter
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageCms

from midcut.errors import WireError
from midcut.pictures import as_shown
from midcut.serving.formats import formats
from midcut.serving.images import open_image, prepared_input, read_image
from midcut.tensors import to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midcut.types import LoadedModel, Tensor

# The reference pictures are smaller than most models' inputs: enlarged by this, preprocessing makes them smaller again.
_ENLARGED: Final = 11
_DIGITS: Final = 16


class PictureInputs:
    """What a model's preprocessing makes of pictures.

    Attributes:
        model: the model.
        seconds: of decoding and preprocessing one picture of usual size, measured with `digests`.
    """

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.seconds = 0.0

    @cached_property
    def digests(self) -> dict[str, str]:
        """Format -> digest. Formats that are not read here are absent; empty if the model takes no pictures.

        The same goes for a model whose inputs from pictures have no fixed shape. Slow: the first call takes about a
        tenth of a second.
        """
        if len(self.model.example) != 1:
            return {}
        try:
            return {name: self._digest(name) for name in _references() if name in formats()}
        except _OtherShapeError:
            return {}

    def _digest(self, file_format: str) -> str:
        found = hashlib.sha256()
        for image in self._decoded(file_format):
            shown = as_shown(image)
            found.update(f"{shown.mode} {shown.size}".encode())
            found.update(shown.tobytes())
            found.update(to_numpy(self._preprocess(image)).tobytes())
        return found.hexdigest()[:_DIGITS]

    def _decoded(self, file_format: str) -> Iterator[Image.Image]:
        """The reference pictures of a format; the first one also enlarged, at half its size, and with a profile."""
        for position, data in enumerate(_references()[file_format]):
            image = read_image(data)
            yield image
            if position == 0:
                yield image.resize((image.width * _ENLARGED, image.height * _ENLARGED), Image.Resampling.NEAREST)
                half = open_image(data)
                half.draft(None, (half.width // 2, half.height // 2))
                yield half.convert("RGB")
                wide = image.convert("RGB")
                wide.info["icc_profile"] = _swapped_srgb()
                yield wide
        self._time(image)

    def _preprocess(self, image: Image.Image) -> Tensor:
        try:
            value = prepared_input(self.model, image)
        except WireError:
            raise _OtherShapeError from None
        if value.shape != self.model.example[0].shape or value.dtype != self.model.example[0].dtype:
            raise _OtherShapeError
        return value

    def _time(self, image: Image.Image) -> None:
        """Time a JPEG of the size that pictures on the web have."""
        if self.seconds:
            return
        out = io.BytesIO()
        image.convert("RGB").resize((640, 480)).save(out, "JPEG", quality=90)
        began = perf_counter()
        self._preprocess(read_image(out.getvalue(), shape=tuple(self.model.example[0].shape)))
        self.seconds = perf_counter() - began


@cache
def _swapped_srgb() -> bytes:
    """A profile like sRGB's, but with red in place of green: conversion by it shows how a side converts colours."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"swap").replace(b"gXYZ", b"rXYZ").replace(b"swap", b"gXYZ")


class _OtherShapeError(Exception):
    """The model takes no pictures, or makes inputs of several shapes of them."""


@cache
def _references() -> dict[str, list[bytes]]:
    """Format -> files, in the order of the archive."""
    archive = resources.files("midcut.serving").joinpath("reference_pictures.zip").read_bytes()
    found: dict[str, list[bytes]] = {}
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        for name in files.namelist():
            found.setdefault(name.partition("/")[0], []).append(files.read(name))
    return found
