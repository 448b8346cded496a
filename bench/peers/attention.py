"""PyTorch's scaled_dot_product_attention, forward or backward.

python3 attention.py HEADS QUERIES KEYS D float32|bfloat16 THREADS      a round per line ("forward" or "backward") on standard input
"""
import json
import sys
import time

import torch
from torch.nn import functional as F

heads, queries, keys, d = map(int, sys.argv[1:5])
dtype, threads = getattr(torch, sys.argv[5]), int(sys.argv[6])
torch.set_num_threads(threads)


def rows(length):
    """[1, heads, length, d] as a view of a linear layer's output."""
    return torch.randn(1, length, heads * d, dtype=dtype).view(1, length, heads, d).transpose(1, 2)


q, k, v, grad = rows(queries), rows(keys), rows(keys), rows(queries)


def forward():
    with torch.inference_mode():
        begin = time.perf_counter()
        F.scaled_dot_product_attention(q, k, v)
        return time.perf_counter() - begin


def backward():
    inputs = [x.detach().requires_grad_() for x in (q, k, v)]
    out = F.scaled_dot_product_attention(*inputs)
    begin = time.perf_counter()
    torch.autograd.grad(out, inputs, grad)
    return time.perf_counter() - begin


print(json.dumps({"torch": torch.__version__}), flush=True)
for line in sys.stdin:
    print(json.dumps({"seconds": backward() if line.strip() == "backward" else forward()}), flush=True)
