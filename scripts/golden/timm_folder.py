"""Logits of classifier folders as timm loads them, for a test that runs where timm is installed.

python3 timm_folder.py FOLDER...             prints a JSON object of each folder's logits for pictures of the network's own size, wide and high, by timm's own views
"""
import json
import sys

import torchvision_ops  # noqa: F401, I001  before timm, which imports torchvision
import timm
import torch
from common import picture
from PIL import Image


def logits(folder):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_data_config({}, model=model)
    view = timm.data.create_transform(**config)
    side = config["input_size"][-1]
    sizes = [(side, side), (side + 77, side + 20), (side + 3, 2 * side)]
    with torch.no_grad():
        return model(torch.stack([view(Image.fromarray(picture(*size, 3, salt))) for salt, size in enumerate(sizes)])).tolist()


json.dump({folder: logits(folder) for folder in sys.argv[1:]}, sys.stdout)
