#!/usr/bin/env python3
"""Writes the reference pictures by which edge and cloud compare their decoders.

They ship with midcut, because another encoder would write other files. Made once; a new file changes every digest, so
that edges and clouds of different versions send each other pixels in place of files.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import pillow_heif
from PIL import Image

OUT: Final = Path(__file__).parents[2] / "framework/midcut/serving/reference_pictures.zip"
SIZE: Final = (61, 47)  # odd, so that subsampled colours end in the middle of a block


def picture() -> Image.Image:
    """Soft colours, hard edges and noise."""
    x, y = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    planes = [127 + 120 * np.sin(6 * x + 2 * y), 255 * y, 127 + 120 * np.cos(9 * x * y)]
    pixels = np.stack(planes, -1)
    pixels[10:20, 8:30] = (250, 20, 30)
    pixels[25:40, 35:55] += np.random.RandomState(0).normal(0, 40, (15, 20, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The file of a picture."""
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def files() -> dict[str, bytes]:
    """Name -> content; the format is the part of the name before the slash."""
    rgb = picture()
    alpha = rgb.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(SIZE))
    wide = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 251)
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "JPEG/420": saved(rgb, "JPEG", quality=90, subsampling=2),
        "JPEG/422": saved(rgb, "JPEG", quality=75, subsampling=1),
        "JPEG/444": saved(rgb, "JPEG", quality=95, subsampling=0),
        "JPEG/progressive": saved(rgb, "JPEG", quality=80, progressive=True),
        "JPEG/coarse": saved(rgb, "JPEG", quality=20, subsampling=2),
        "JPEG/grey": saved(rgb.convert("L"), "JPEG", quality=85),
        "JPEG/cmyk": saved(rgb.convert("CMYK"), "JPEG", quality=85),
        "JPEG/turned": saved(rgb, "JPEG", quality=85, exif=turned),
        "PNG/rgb": saved(rgb, "PNG"),
        "PNG/alpha": saved(alpha, "PNG"),
        "PNG/palette": saved(rgb.quantize(32), "PNG"),
        "PNG/wide": saved(wide, "PNG"),
        "PNG/grey_alpha": saved(alpha.convert("LA"), "PNG"),
        "PNG/bits": saved(rgb.convert("1"), "PNG"),
        "WEBP/lossy": saved(rgb, "WEBP", quality=80),
        "WEBP/lossless": saved(rgb, "WEBP", lossless=True),
        "WEBP/alpha": saved(alpha, "WEBP", quality=70),
        "BMP/rgb": saved(rgb, "BMP"),
        "GIF/palette": saved(rgb.quantize(64), "GIF"),
        "TIFF/rgb": saved(rgb, "TIFF"),
        "TIFF/lzw": saved(rgb, "TIFF", compression="tiff_lzw"),
        "TIFF/jpeg": saved(rgb, "TIFF", compression="jpeg"),
        "TIFF/wide": saved(wide, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF/float": saved(Image.fromarray(np.asarray(rgb.convert("L")).astype(np.float32) / 255), "TIFF"),
        "PPM/rgb": saved(rgb, "PPM"),
        "PPM/wide": saved(wide, "PPM"),
        "AVIF/rgb": saved(rgb, "AVIF", quality=80),
        "HEIF/rgb": saved(rgb, "HEIF", quality=80),
    }


def main() -> None:
    """Write the archive, with fixed times, so that it depends on the pictures only."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    pillow_heif.register_heif_opener()
    with zipfile.ZipFile(OUT, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files().items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()
