"""SqueezeNet 1.0 written out with PyTorch's functions: with weights by formula, and with the real ones where their file is (SEEDBED_DATA)."""
import os
from pathlib import Path

import numpy as np
import torch
from common import picture, write
from diffusers_cases.formula import fill, stored
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

SIDE = 227
MEANS = (104.0, 117.0, 123.0)  # blue, green, red
FIRES = {3: (96, 16, 64), 4: (128, 16, 64), 5: (128, 32, 128), 7: (256, 32, 128), 8: (256, 48, 192), 9: (384, 48, 192), 10: (384, 64, 256), 12: (512, 64, 256)}
POOLED = (3, 7, 12)
PICTURES = ((64, 64, 0), (64, 64, 1), (64, 64, 2))
DATA = Path(os.environ.get("SEEDBED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
FILE = "weights/squeezenet1_0_deepcompression.safetensors"


def shapes():
    found = {"features.0": (96, 3, 7, 7), "classifier.1": (1000, 512, 1, 1)}
    for place, (wide, squeeze, expand) in FIRES.items():
        found[f"features.{place}.squeeze"] = (squeeze, wide, 1, 1)
        found[f"features.{place}.expand1x1"] = (expand, squeeze, 1, 1)
        found[f"features.{place}.expand3x3"] = (expand, squeeze, 3, 3)
    return {f"{name}.{part}": list(shape if part == "weight" else shape[:1]) for name, shape in found.items() for part in ("weight", "bias")}


def forward(w, x):
    conv = lambda name, x, **more: F.relu(F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **more))
    x = conv("features.0", x, stride=2)
    for place in FIRES:
        if place in POOLED:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        narrow = conv(f"features.{place}.squeeze", x)
        x = torch.cat([conv(f"features.{place}.expand1x1", narrow), conv(f"features.{place}.expand3x3", narrow, padding=1)], 1)
    return x.mean((2, 3)), conv("classifier.1", x).mean((2, 3))


def pixels(width, height, salt):
    resized = Image.fromarray(picture(width, height, 3, salt)).resize((SIDE, SIDE), Image.BICUBIC)
    return torch.from_numpy(np.asarray(resized, dtype=np.float32)[:, :, ::-1].transpose(2, 0, 1) - np.array(MEANS, dtype=np.float32)[:, None, None])


def outputs(weights):
    with torch.no_grad():
        features, logits = forward(weights, torch.stack([pixels(*size) for size in PICTURES]))
    return {"features": stored(features), "logits": stored(logits)}


# Pixels are in bytes here, so the first layer's weights by formula are brought down to unit gain.
formula = {name: fill(name, shape) * (0.01 if name == "features.0.weight" else 1) for name, shape in shapes().items()}
golden = {"shapes": shapes(), "pictures": PICTURES, "formula": outputs(formula)}
if (DATA / FILE).exists():
    real = {name: value.float() for name, value in load_file(DATA / FILE).items()}
    with torch.no_grad():
        zeros = forward(real, torch.zeros(1, 3, SIDE, SIDE))[1][0]
    print("largest for zeros:", [(int(i), round(zeros[i].item(), 4)) for i in zeros.topk(3).indices])
    golden["real"] = {"file": FILE, **outputs(real)}
write("judge", golden)
