"""Logits, loss and optimiser steps of a tiny vision transformer, by timm and PyTorch."""
import torchvision_ops  # noqa: F401, I001  before timm, which imports torchvision
import numpy as np
import timm
import torch
from common import picture, ramp, write
from torch.nn import functional as F

IMAGE, PATCH, WIDTH, DEPTH, HEADS, CLASSES, COUNT = 16, 4, 24, 3, 2, 5, 4
SHOWN = 6  # values kept of each parameter


def model():
    net = timm.models.vision_transformer.VisionTransformer(
        img_size=IMAGE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, num_classes=CLASSES
    )
    with torch.no_grad():
        for salt, (name, value) in enumerate(net.named_parameters()):
            scale = 0.4 if value.ndim > 1 else 0.2
            value.copy_(torch.from_numpy(ramp(salt, tuple(value.shape), scale)))
            if "norm" in name and name.endswith("weight"):
                value.add_(1)
    return net


def batch():
    pixels = np.stack([picture(IMAGE, IMAGE, 3, salt) for salt in range(COUNT)]).astype(np.float32) / 255
    return torch.from_numpy((pixels.transpose(0, 3, 1, 2) - 0.5) / 0.5), torch.tensor([0, 3, 1, 4])


def loss_of(net, smoothing):
    x, y = batch()
    return F.cross_entropy(net(x), y, label_smoothing=smoothing)


def train(optimiser_of, smoothing, steps):
    net = model()
    decay = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = optimiser_of(decay, plain)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = loss_of(net, smoothing)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return {"losses": losses, "parameters": {n: p.detach().flatten()[:SHOWN].tolist() for n, p in net.named_parameters()}}


def adamw(decay, plain):
    return torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=1e-3)


def sgd(decay, plain):
    groups = [{"params": decay, "weight_decay": 1e-2}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=True)


def main():
    net = model().eval()
    with torch.no_grad():
        logits = net(batch()[0])
    write(
        "vit",
        {
            "config": {"imageSize": IMAGE, "patchSize": PATCH, "width": WIDTH, "depth": DEPTH, "heads": HEADS, "classes": CLASSES},
            "shapes": {name: list(p.shape) for name, p in net.named_parameters()},
            "labels": batch()[1].tolist(),
            "logits": logits.tolist(),
            "loss": loss_of(net, 0.0).item(),
            "adamw": train(adamw, 0.1, 3),
            "sgd": train(sgd, 0.0, 3),
            "randn": (torch.randn(1, 1, WIDTH, generator=torch.Generator().manual_seed(7)).flatten()).tolist(),
        },
    )


if __name__ == "__main__":
    main()
