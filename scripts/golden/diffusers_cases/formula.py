"""Weights and inputs by a formula that test/formula.ts computes too, and the form in which tensors and models are stored."""
import math
import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

SHOWN = 2048  # values kept of one tensor at most
SHOWN_INSIDE = 256  # of one from inside a net

EMBEDDING = re.compile(r"(^|\.)(token|position|class)_embedding(\.weight)?$")


def uniform(name, count):
    """float64 in [0, 1): a hash of the name (FNV-1a) and the flat index, mixed with 32-bit arithmetic."""
    salt = 2166136261
    for byte in name.encode():
        salt = ((salt ^ byte) * 16777619) % 2**32
    h = np.arange(count, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(salt)
    h ^= h >> np.uint32(15)
    h *= np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    h *= np.uint32(3266489917)
    h ^= h >> np.uint32(16)
    return h.astype(np.float64) / 2**32


def fill(name, shape):
    """float32 tensor of that name: unit gain for weights, so that activations neither vanish nor explode."""
    shape = tuple(shape)
    c = 2 * uniform(name, math.prod(shape)) - 1
    if name.startswith("input."):
        c = c * 1.7
    elif EMBEDDING.search(name):
        c = c * 0.5
    elif name.endswith(".weight"):
        c = c * math.sqrt(3 / math.prod(shape[1:])) if len(shape) > 1 else 1 + 0.2 * c
    elif name.endswith(".bias"):
        c = 0.1 * c
    return torch.from_numpy(c.astype(np.float32).reshape(shape))


def integers(name, shape, below):
    return torch.from_numpy(np.floor(uniform(name, math.prod(shape)) * below).astype(np.int64).reshape(shape))


def published(model, name):
    """The parameter's name in published files: CLIPTextModel of transformers from 5.6 on saves without 'text_model.'."""
    return f"text_model.{name}" if type(model).__name__ == "CLIPTextModel" and not name.startswith("text_model.") else name


def fill_model(model):
    """Gives every parameter the values of its published name; returns the model ready for inference."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(fill(published(model, name), value.shape))
    return model.eval()


def stored_model(model):
    """What a test needs to write the folder: the file's name, the configuration as saved, and the parameters."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        (weights,) = [f.name for f in Path(folder).glob("*.safetensors")]
        config = (Path(folder) / "config.json").read_text()  # as text: JavaScript would write 1.0 as 1, which transformers refuses
        with safe_open(Path(folder) / weights, "pt") as file:
            shapes = [[published(model, k), list(file.get_slice(k).get_shape())] for k in file.keys()]
    return {"file": weights, "config": config, "parameters": sorted(shapes)}


def stored(tensor, shown=SHOWN):
    """Shape, and every step-th value of the flat tensor with nine digits."""
    flat = tensor.detach().double().flatten()
    step = 1
    while flat.numel() / step > shown:
        step += 2
    return {"shape": list(tensor.shape), "step": step, "values": [float(f"{v:.9g}") for v in flat[::step].tolist()]}


def first(output):
    return output[0] if isinstance(output, tuple) else output.sample if hasattr(output, "sample") else output


def watched(model, names, call):
    """Runs `call` and returns its result with the outputs of the submodules of those names."""
    seen = {}

    def watch(name):
        def keep(_module, _inputs, output):
            seen[name] = stored(first(output), SHOWN_INSIDE)

        return model.get_submodule(name).register_forward_hook(keep)

    hooks = [watch(name) for name in names]
    try:
        return call(), seen
    finally:
        for hook in hooks:
            hook.remove()


def samples():
    """A few values of each rule, for the twin's test."""
    shapes = {
        "input.latents": [2, 3], "a.conv.weight": [3, 2, 3, 3], "a.norm.weight": [5], "a.bias": [4], "logit_scale": [],
        "text_model.embeddings.token_embedding.weight": [7, 3], "vision_model.embeddings.class_embedding": [6],
        "vision_model.embeddings.patch_embedding.weight": [2, 3, 4, 4], "time_embedding.linear_1.weight": [4, 8],
    }
    filled = [{"name": name, "shape": shape, "values": fill(name, shape).flatten().tolist()} for name, shape in shapes.items()]
    late = fill("a.large.weight", (70000, 2)).flatten()[139990:].tolist()
    return {"filled": filled, "late": {"name": "a.large.weight", "shape": [70000, 2], "from": 139990, "values": late}, "integers": integers("input.ids", (3, 4), 530).flatten().tolist()}
