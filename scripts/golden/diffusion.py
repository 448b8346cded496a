"""Stable Diffusion's nets, pipelines, inversions and file layouts on tiny models, by diffusers and transformers.

python3 scripts/golden/diffusion.py [PART ...]      parts: formula unet attention vae text vision pipelines inversions shortcuts lora textual_inversion single_file pretrain
"""
import json
import sys

import torch
from common import GOLDEN

import torchvision_ops  # noqa: F401  before diffusers, which imports torchvision
from diffusers.utils import logging  # noqa: E402
from diffusers_cases import attention_cases, embedding_cases, formula, inversion_cases, lora_cases, net_cases, pipeline_cases, pretrain_cases, shortcut_cases, single_file  # noqa: E402

PARTS = {
    "formula": formula.samples,
    "unet": net_cases.unets,
    "attention": attention_cases.attention,
    "vae": net_cases.vaes,
    "text": net_cases.texts,
    "vision": net_cases.visions,
    "pipelines": pipeline_cases.pipelines,
    "inversions": inversion_cases.inversions,
    "shortcuts": shortcut_cases.shortcuts,
    "lora": lora_cases.lora,
    "textual_inversion": embedding_cases.textual_inversion,
    "single_file": single_file.single_file,
    "pretrain": pretrain_cases.pretrain,
}

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)
folder = GOLDEN / "diffusion"
folder.mkdir(parents=True, exist_ok=True)
for part in sys.argv[1:] or PARTS:
    with torch.no_grad():
        content = PARTS[part]()
    path = folder / f"{part}.json"
    path.write_text(json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")
    print(path, path.stat().st_size)
