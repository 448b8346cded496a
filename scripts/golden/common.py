"""Formulas shared with test/golden.ts, and the writer of golden files."""
import json
import pathlib

import numpy as np

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "test" / "golden"


def ramp(salt, shape, scale=1.0):
    """float32 values in [-scale/2, scale/2): ((i * 7919 + salt * 104729) mod 1000) / 1000 - 0.5, times scale."""
    i = np.arange(int(np.prod(shape)), dtype=np.int64)
    return ((((i * 7919 + salt * 104729) % 1000) / 1000 - 0.5) * scale).astype(np.float32).reshape(shape)


def picture(width, height, channels, salt=0):
    """uint8 [height, width, channels]: (7 x + 13 y + 29 c + 5 (x y mod 17) + 31 salt) mod 256."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    return ((7 * x + 13 * y + 29 * c + 5 * (x * y % 17) + 31 * salt) % 256).astype(np.uint8)


def write(name, content):
    GOLDEN.mkdir(parents=True, exist_ok=True)
    (GOLDEN / f"{name}.json").write_text(json.dumps(content) + "\n")
    print(GOLDEN / f"{name}.json")
