"""Distances between sets of features, by numpy and scipy, straight from their formulas."""
import numpy as np
import scipy.linalg
from common import write
from diffusers_cases.formula import fill

DEGREE = 3
KS = (1, 3, 5)
WIDTH = 6


def features(name, rows, scale, offset):
    x = fill(f"input.{name}", (rows, WIDTH)).numpy().astype(np.float64)
    mix = fill(f"{name}.weight", (WIDTH, WIDTH)).numpy().astype(np.float64)
    return ((x + x**2 / 3) @ mix * scale + offset).astype(np.float32)


def frechet(a, b):
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * np.trace(root).real)


def kernel(a, b):
    n, m = len(a), len(b)
    k = lambda x, y: (x @ y.T / WIDTH + 1) ** DEGREE
    off_diagonal = lambda x: k(x, x)[~np.eye(len(x), dtype=bool)].sum()
    return float(off_diagonal(a) / (n * (n - 1)) + off_diagonal(b) / (m * (m - 1)) - 2 * k(a, b).sum() / (n * m))


def kernel_error(a, b):
    """The jackknife's standard error, row by row of both sets."""
    variance = lambda values: (len(values) - 1) / len(values) * ((values - np.mean(values)) ** 2).sum()
    without_a = np.array([kernel(np.delete(a, i, 0), b) for i in range(len(a))])
    without_b = np.array([kernel(a, np.delete(b, i, 0)) for i in range(len(b))])
    return float(np.sqrt(variance(without_a) + variance(without_b)))


def inside(x, region, k):
    """Share of x in a ball around a row of region that reaches to its k-th nearest other row."""
    reach = [sorted(np.linalg.norm(region - row, axis=1))[k] for row in region]
    return float(np.mean([any(np.linalg.norm(point - row) <= r for row, r in zip(region, reach)) for point in x]))


def order(queries, gallery, unit):
    if unit:
        queries, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, gallery))
    distances = np.linalg.norm(queries[:, None] - gallery[None], axis=2)
    places = np.argsort(distances, axis=1)
    return places[:, :3].tolist(), np.take_along_axis(distances, places, 1)[:, :3].tolist(), (np.argsort(places, axis=1) + 1)


a32, b32 = features("a", 40, 1.0, 0.0), features("b", 30, 1.3, 0.2)
a, b = a32.astype(np.float64), b32.astype(np.float64)
few = a[:4]  # fewer rows than columns: covariances without full rank
wanted = [(7 * i + 3) % len(b) for i in range(len(a))]
neighbours = {}
for name in ("euclidean", "cosine"):
    places, distances, all_ranks = order(a, b, name == "cosine")
    neighbours[name] = {"places": places, "distances": distances, "ranks": [int(all_ranks[i, w]) for i, w in enumerate(wanted)]}
write(
    "metrics",
    {
        "a": a32.tolist(), "b": b32.tolist(), "wanted": wanted,
        "frechet": frechet(a, b), "frechetFew": frechet(few, b[:4]),
        "kernel": kernel(a, b), "kernelError": kernel_error(a, b),
        "manifold": {str(k): {"precision": inside(b, a, k), "recall": inside(a, b, k)} for k in KS},
        "neighbours": neighbours,
    },
)
