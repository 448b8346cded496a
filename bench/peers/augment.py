"""timm's training chain on Pillow pictures in memory.

python3 augment.py FILE COUNT SIDE CHANNELS CROP none|randaugment     FILE holds the pictures' bytes; a round per line on standard input
"""
import sys

import numpy as np
import torch
from PIL import Image
from rounds import serve_rounds

import torchvision_ops  # noqa: F401, I001  before the packages that import torchvision
from timm.data import create_transform  # noqa: E402

path, count, side, channels, crop = sys.argv[1], *map(int, sys.argv[2:6])
torch.set_num_threads(1)
shape = (count, side, side) if channels == 1 else (count, side, side, channels)
pictures = [Image.fromarray(picture) for picture in np.fromfile(path, np.uint8).reshape(shape)]
policy = "rand-m9-inc1" if sys.argv[6] == "randaugment" else None
chain = create_transform(crop, is_training=True, auto_augment=policy, hflip=0.5, scale=(0.08, 1.0), interpolation="bicubic", color_jitter=None, mean=(0.5,) * 3, std=(0.5,) * 3)


def step():
    for picture in pictures:
        chain(picture.convert("RGB"))


serve_rounds(step, 1)
