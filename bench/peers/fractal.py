"""Chaos game in NumPy and numba, written for this benchmark: same systems, same index sequence, same pictures.

python3 fractal.py SYSTEMS.json plain|frozen|numpy|scatter point|patch      a round per line on standard input

plain: numba, a random number per step, as renderers of this kind usually do it
frozen: numba, the sequence of maps drawn once before, as the reference's fixed seed allows
numpy: the orbit in Python numbers, the drawing in NumPy
scatter: nothing but 100,000 stores to random places of a picture: the limit of the machine's stores
"""
import json
import sys
import time

import numpy as np
from numba import njit

PADDING, SEED, NUMPY_SYSTEMS = 6, 100, 2


@njit(cache=True)
def orbit(maps, sequence, xy):
    x = y = 0.0
    xy[0, 0], xy[0, 1] = x, y
    for t in range(sequence.shape[0]):
        m = maps[sequence[t]]
        x, y = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
        xy[t + 1, 0], xy[t + 1, 1] = x, y


@njit(cache=True)
def orbit_drawing(maps, weights, xy):
    np.random.seed(SEED)
    x = y = 0.0
    xy[0, 0], xy[0, 1] = x, y
    for t in range(1, xy.shape[0]):
        draw, k = np.random.random(), 0
        while k < len(weights) - 1 and draw > weights[k]:
            k += 1
        m = maps[k]
        x, y = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
        xy[t, 0], xy[t, 1] = x, y


@njit(cache=True)
def draw_points(xy, size, out):
    low0 = high0 = xy[0, 0]
    low1 = high1 = xy[0, 1]
    for i in range(xy.shape[0]):
        low0, high0 = min(low0, xy[i, 0]), max(high0, xy[i, 0])
        low1, high1 = min(low1, xy[i, 1]), max(high1, xy[i, 1])
    inner = size - 2 * PADDING
    sx, sy = inner / (high0 - low0), inner / (high1 - low1)
    out[:] = 0
    for i in range(xy.shape[0]):
        out[size - 1 - int((xy[i, 1] - low1) * sy + PADDING), int((xy[i, 0] - low0) * sx + PADDING)] = 127


@njit(cache=True)
def draw_patches(xy, size, out):
    low0 = high0 = xy[0, 0]
    low1 = high1 = xy[0, 1]
    for i in range(xy.shape[0]):
        low0, high0 = min(low0, xy[i, 0]), max(high0, xy[i, 0])
        low1, high1 = min(low1, xy[i, 1]), max(high1, xy[i, 1])
    inner = size - 2 * PADDING
    sx, sy = inner / (high0 - low0), inner / (high1 - low1)
    out[:] = 0
    for i in range(xy.shape[0]):
        x, y = int((xy[i, 0] - low0) * sx + PADDING), int((xy[i, 1] - low1) * sy + PADDING)
        mask = np.random.randint(1, 512)
        for dy in range(3):
            for dx in range(3):
                out[size - 1 - (y + 1 + dy), x + 1 + dx] = 127 if mask >> (3 * dy + dx) & 1 else 0


@njit(cache=True)
def scatter(places, out):
    out[:] = 0
    for i in range(places.shape[0]):
        out[places[i]] = 127


def numpy_image(maps, sequence, size, draw):
    xy = np.zeros((len(sequence) + 1, 2))
    x = y = 0.0
    rows = [m.ravel().tolist() for m in maps]
    for t, k in enumerate(sequence.tolist()):
        a, b, e, c, d, f = rows[k]
        x, y = a * x + b * y + e, c * x + d * y + f
        xy[t + 1] = x, y
    low, high = xy.min(0), xy.max(0)
    place = ((xy - low) / (high - low) * (size - 2 * PADDING) + PADDING).astype(np.int64)
    out = np.zeros((size, size), np.uint8)
    if draw == "point":
        out[size - 1 - place[:, 1], place[:, 0]] = 127
        return out
    bits = np.random.randint(1, 512, len(place))[:, None, None] >> np.arange(9).reshape(3, 3) & 1
    for (px, py), patch in zip(place, bits.astype(np.uint8) * 127):
        out[py + 1 : py + 4, px + 1 : px + 4] = patch
    return out[::-1]


def main():
    path, kind, draw = sys.argv[1:]
    with open(path) as file:
        content = json.load(file)
    size, points = content["size"], content["points"]
    systems = [np.array(s["affine"]) for s in content["systems"]]
    weights = np.cumsum(content["systems"][0]["weights"])
    sequence = np.searchsorted(weights, np.random.RandomState(SEED).rand(points - 1)).astype(np.int64)
    xy, out = np.empty((points, 2)), np.empty((size, size), np.uint8)
    places = np.random.RandomState(1).randint(0, size * size, points)

    def work():
        if kind == "numpy":
            for maps in systems[:NUMPY_SYSTEMS]:
                numpy_image(maps, sequence, size, draw)
            return
        for maps in systems:
            if kind == "scatter":
                scatter(places, out.ravel())
                continue
            if kind == "plain":
                orbit_drawing(maps, weights, xy)
            else:
                orbit(maps, sequence, xy)
            (draw_points if draw == "point" else draw_patches)(xy, size, out)

    if kind != "numpy":
        work()
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        work()
        print(json.dumps({"seconds": time.perf_counter() - begin}), flush=True)


main()
