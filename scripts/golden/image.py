"""Resizing and augmentation operations, by Pillow and timm, edges by scikit-image: sha256 of the output bytes."""
import hashlib

import torchvision_ops  # noqa: F401, I001  before timm, which imports torchvision
import numpy as np
from common import picture, write
from PIL import Image
from skimage.feature import canny
from timm.data import auto_augment

FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}
SIZES = [(37, 29, 16, 16), (20, 31, 45, 50), (64, 64, 32, 32), (50, 40, 50, 17), (9, 9, 9, 9)]


def image(width, height, channels):
    pixels = picture(width, height, channels)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def digest(picture_):
    return hashlib.sha256(picture_.tobytes()).hexdigest()


def resized():
    for channels in (1, 3):
        for width, height, to_width, to_height in SIZES:
            for name, kind in FILTERS.items():
                out = image(width, height, channels).resize((to_width, to_height), kind)
                yield {"from": [width, height, channels], "to": [to_width, to_height], "filter": name, "sha256": digest(out)}


def augmented():
    fixed = {"fillcolor": (128, 128, 128), "resample": Image.BICUBIC}
    signs = iter(())

    def sign(value):
        return -value if next(signs) else value

    auto_augment._randomly_negate = sign
    for name in auto_augment._RAND_INCREASING_TRANSFORMS:
        for magnitude in (2.5, 9.0, 10.0):
            if (name, magnitude) == ("PosterizeIncreasing", 10.0):
                continue  # 0 bits, which this Pillow refuses
            for negative in (False, True):
                signs = iter([negative])
                level = auto_augment.LEVEL_TO_ARG[name]
                arguments = level(magnitude, {}) if level is not None else ()
                out = auto_augment.NAME_TO_OP[name](image(33, 25, 3), *arguments, **fixed)
                yield {"op": name, "magnitude": magnitude, "negative": negative, "sha256": digest(out)}


def edges():
    for width, height, channels, to in ((61, 47, 1, None), (33, 25, 3, None), (12, 9, 3, (96, 72)), (9, 11, 1, (130, 150))):
        for sigma, low, high in ((1.0, 0.1, 0.2), (2.0, 0.02, 0.3), (0.6, 0.0, 0.5)):
            source = image(width, height, channels)
            if to is not None:
                source = source.resize(to, Image.BICUBIC)
            found = canny(np.asarray(source.convert("L")) / 255, sigma=sigma, low_threshold=low, high_threshold=high, mode="nearest")
            bytes_ = np.where(found, 255, 0).astype(np.uint8).tobytes()
            yield {"from": [width, height, channels], "to": to, "sigma": sigma, "low": low, "high": high, "points": int(found.sum()), "sha256": hashlib.sha256(bytes_).hexdigest()}


write("image", {"resize": list(resized()), "ops": {"from": [33, 25, 3], "cases": list(augmented())}, "edges": list(edges())})
