"""Index sequence and point pictures of the chaos game, by NumPy."""
import colorsys
import hashlib

import numpy as np
from common import write

POINTS, SIZE, PADDING = 100_000, 512, 6
SYSTEMS = {  # rows a b c d e f, as the reference stores them
    "dragon": [(0.5, -0.5, 0.5, 0.5, 0, 0), (-0.5, -0.5, 0.5, -0.5, 1, 0)],
    "sparse": [(0.75, -0.30, 0.25, 0.60, 0.20, -0.10), (-0.30, 0.35, 0.40, 0.25, -0.50, 0.60)],
}


def draws(count, seed=100):
    return np.random.RandomState(seed).rand(count)


def indices(weights, count):
    return np.searchsorted(np.cumsum(weights), draws(count), side="left")


def orbit(maps, sequence):
    points = np.zeros((len(sequence) + 1, 2))
    for t, k in enumerate(sequence):
        a, b, c, d, e, f = maps[k]
        x, y = points[t]
        points[t + 1] = (a * x + b * y + e, c * x + d * y + f)
    return points


def pixels(points):
    low, high = points.min(0), points.max(0)
    return ((points - low) / (high - low) * (SIZE - 2 * PADDING) + PADDING).astype(np.uint16)


def coloured(place, patches):
    """FractalDB's: the hue turns with the points' order, later points lie over earlier ones, the channels are stored blue first."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    for i, (x, y) in enumerate(place.astype(int)):
        colour = [round(255 * channel) for channel in reversed(colorsys.hsv_to_rgb(i % 128 / 128, 0.75, 0.75))]
        if patches:
            image[y + 1 : y + 4, x + 1 : x + 4] = colour
        else:
            image[y, x] = colour
    return hashlib.sha256(image[::-1].tobytes()).hexdigest()


def describe(maps):
    determinants = np.array([abs(a * d - b * c) for a, b, c, d, _, _ in maps])
    weights = determinants / determinants.sum()
    points = orbit(maps, indices(weights, POINTS - 1))
    place = pixels(points)
    image = np.zeros((SIZE, SIZE), bool)
    image[place[:, 1], place[:, 0]] = True
    patches = np.zeros_like(image)
    for dy in (1, 2, 3):
        for dx in (1, 2, 3):
            patches[np.minimum(place[:, 1] + dy, SIZE - 1), np.minimum(place[:, 0] + dx, SIZE - 1)] = True
    flipped = image[::-1]
    return {
        "affine": [[[a, b, e], [c, d, f]] for a, b, c, d, e, f in maps],
        "weights": weights.tolist(),
        "sigmaFactor": float(sum(s[0] + 2 * s[1] for s in (np.linalg.svd(np.array([[a, b], [c, d]]), compute_uv=False) for a, b, c, d, _, _ in maps))),
        "lit": int(image.sum()),
        "covered": int(patches.sum()),
        "rows": flipped.sum(1).tolist(),
        "columns": flipped.sum(0).tolist(),
        "colouredPoints": coloured(place, False),
        "colouredPatches": coloured(place, True),
    }


half, uneven = indices([0.5, 0.5], POINTS - 1), indices([0.7, 0.3], POINTS - 1)
write(
    "fractal",
    {
        "half": {"first": half[:32].tolist(), "zeros": int((half == 0).sum())},
        "uneven": {"first": uneven[:32].tolist(), "zeros": int((uneven == 0).sum())},
        "systems": {name: describe(maps) for name, maps in SYSTEMS.items()},
    },
)
