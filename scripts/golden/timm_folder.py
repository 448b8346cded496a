"""Logits of classifier folders as timm loads them, for a test that runs where timm is installed.

python3 timm_folder.py FOLDER...             prints a JSON object of each folder's logits for two pictures of the network's own size
"""
import json
import sys

import torchvision_ops  # noqa: F401, I001  before timm, which imports torchvision
import numpy as np
import timm
import torch
from common import picture


def logits(folder):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = model.pretrained_cfg
    side = config["input_size"][-1]
    pixels = np.stack([picture(side, side, 3, salt) for salt in (0, 1)]).astype(np.float32) / 255
    views = (pixels - np.float32(config["mean"])) / np.float32(config["std"])
    with torch.no_grad():
        return model(torch.from_numpy(views).permute(0, 3, 1, 2)).tolist()


json.dump({folder: logits(folder) for folder in sys.argv[1:]}, sys.stdout)
