"""Resizing and augmentation operations, by Pillow and timm: sha256 of the output bytes."""
import hashlib

from common import picture, timm_without_torchvision_ops, write
from PIL import Image

timm, _library = timm_without_torchvision_ops()
from timm.data import auto_augment  # noqa: E402

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


write("image", {"resize": list(resized()), "ops": {"from": [33, 25, 3], "cases": list(augmented())}})
