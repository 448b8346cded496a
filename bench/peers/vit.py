"""Training steps of a vision transformer in timm and PyTorch, on ready tensors.

python3 vit.py SIZE PATCH WIDTH DEPTH HEADS CLASSES BATCH STEPS float32|bfloat16 THREADS      a round per line on standard input
"""
import sys

import torch
from rounds import serve_rounds
from torch.nn import functional as F

import torchvision_ops  # noqa: F401, I001  before the packages that import torchvision
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

size, patch, width, depth, heads, classes, batch, steps = map(int, sys.argv[1:9])
bf16, threads = sys.argv[9] == "bfloat16", int(sys.argv[10])
torch.set_num_threads(threads)
model = VisionTransformer(img_size=size, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, num_classes=classes)
optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
x, y = torch.randn(batch, 3, size, size), torch.randint(0, classes, (batch,))


def step():
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(x)
    F.cross_entropy(logits.float(), y).backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


serve_rounds(step, steps)
