"""Logits and optimiser steps of tiny residual networks, and the state-dict keys of the large ones, by timm and PyTorch."""
import torchvision_ops  # noqa: F401, I001  before timm, which imports torchvision
import numpy as np
import timm
import torch
from common import ramp, write
from timm.models.resnet import BasicBlock, Bottleneck, ResNet, make_blocks
from torch import nn
from torch.nn import functional as F

WIDTH, CLASSES, COUNT, STEPS = 4, 5, 4, 2
SHOWN = 6  # values kept of each tensor
# Of sizes where no activation lies so near 0 that rounding decides on which side of a ReLU it falls: pixels changed by 5e-7 of their value
# change no result by more than a fifth of the tests' tolerance.
CASES = {
    "basic, small stem": {"block": "basic", "layers": [1, 2, 1, 1], "stem": "small", "imageSize": 16},
    "bottleneck, large stem": {"block": "bottleneck", "layers": [1, 1, 2, 1], "stem": "large", "imageSize": 72},
}
BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
STEM = ["conv1", "bn1"]
TWO_STAGES = STEM + ["layer1", "layer2"]
BACKBONE = TWO_STAGES + ["layer3", "layer4"]


def model(case):
    """timm's network with a stem of WIDTH channels, which its constructor does not offer."""
    channels = tuple(WIDTH * 2**i for i in range(4))
    block = BLOCKS[case["block"]]
    net = ResNet(block, case["layers"], channels=channels, num_classes=CLASSES)
    if case["stem"] == "small":
        net.conv1, net.maxpool = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False), nn.Identity()
    else:
        net.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
    net.bn1 = nn.BatchNorm2d(WIDTH)
    for name, stage in make_blocks((block,) * 4, channels, tuple(case["layers"]), WIDTH)[0]:
        setattr(net, name, stage)
    return net


def filled(case):
    net = model(case)
    with torch.no_grad():
        for salt, (name, value) in enumerate(net.state_dict().items()):
            if value.dtype == torch.int64:
                value.fill_(7)
                continue
            value.copy_(torch.from_numpy(ramp(salt, tuple(value.shape), 0.6 if value.ndim == 4 else 0.4)))
            if value.ndim == 1 and name.endswith(("weight", "running_var")):
                value.add_(1)
    return net


def rough_picture(size, salt):
    """uint8 [size, size, 3]: ((7919 i i + 31 i + 104729 salt) mod 65521) mod 256, without a period: pooling meets no ties, which rounding would decide."""
    i = np.arange(size * size * 3, dtype=np.int64)
    return ((7919 * i * i + 31 * i + 104729 * salt) % 65521 % 256).astype(np.uint8).reshape(size, size, 3)


def batch(size):
    pixels = np.stack([rough_picture(size, salt) for salt in range(COUNT)]).astype(np.float32) / 255
    return torch.from_numpy((pixels.transpose(0, 3, 1, 2) - 0.5) / 0.5), torch.tensor([0, 3, 1, 4])


def buffers_of(net):
    return {name: value.clone() for name, value in net.named_buffers()}


def backward(net, x, y, shards):
    """Gradients of the batch's loss; each shard is normalised by itself, and running averages move by the mean over shards."""
    before, after = buffers_of(net), []
    total = 0.0
    for part_x, part_y in zip(x.chunk(shards), y.chunk(shards), strict=True):
        net.load_state_dict(before, strict=False)
        loss = F.cross_entropy(net(part_x), part_y) / shards
        loss.backward()
        total += loss.item()
        after.append(buffers_of(net))
    mean = {name: torch.stack([buffers[name] for buffers in after]).double().mean(0) for name in before}
    net.load_state_dict(mean, strict=False)
    return total


def train(case, shards=1, frozen=(), nesterov=True):
    net = filled(case).train()
    for name in frozen:
        getattr(net, name).requires_grad_(False).eval()
    free = [p for p in net.parameters() if p.requires_grad]
    groups = [{"params": [p for p in free if p.ndim > 1], "weight_decay": 1e-2}, {"params": [p for p in free if p.ndim <= 1], "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=nesterov)
    x, y = batch(case["imageSize"])
    losses = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        losses.append(backward(net, x, y, shards))
        optimiser.step()
    return {"losses": losses, "state": {name: value.flatten()[:SHOWN].tolist() for name, value in net.state_dict().items()}}


def shapes_of(net):
    return {name: list(value.shape) for name, value in net.state_dict().items()}


def golden(case):
    net = filled(case).eval()
    with torch.no_grad():
        logits = net(batch(case["imageSize"])[0])
    return {
        "config": {"type": "resnet", "width": WIDTH, "classes": CLASSES, **case},
        "shapes": shapes_of(net),
        "logits": logits.tolist(),
        "whole": train(case),
        "sharded": train(case, shards=2),
        "plain": train(case, nesterov=False),
        "frozen": train(case, frozen=TWO_STAGES),
        "probe": train(case, frozen=BACKBONE),
    }


def main():
    deviation = (2 / (64 * 49)) ** 0.5  # He's, of a 7 x 7 convolution into 64 channels
    drawn = torch.empty(64, 3, 7, 7).normal_(0, deviation, generator=torch.Generator().manual_seed(7))
    write(
        "resnet",
        {
            "labels": batch(8)[1].tolist(),
            "cases": {name: golden(case) for name, case in CASES.items()},
            "timm": {name: shapes_of(timm.create_model(name)) for name in ("resnet18", "resnet50")},
            "conv1": drawn.flatten()[:SHOWN].tolist(),
        },
    )


if __name__ == "__main__":
    main()
