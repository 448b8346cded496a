"""Names of layers and keys of LoRA files, alphas and casts, from diffusers and PEFT: test/golden/lora_files.json.

python3 lora_files.py                        writes the golden file
python3 lora_files.py read FILE...           loads files into diffusers' tiny pipeline, and folders of PEFT's into its UNet, for a test that runs
                                             where diffusers is installed; prints for each its layers' scales, and the factors as lists
"""
import argparse
import contextlib
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import torchvision_ops  # noqa: F401  before diffusers, which imports torchvision
from diffusers import StableDiffusionPipeline, UNet2DConditionModel  # noqa: E402
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers  # noqa: E402
from diffusers.training_utils import _collate_lora_metadata  # noqa: E402
from diffusers.utils import convert_all_state_dict_to_peft, convert_state_dict_to_diffusers, convert_state_dict_to_kohya, convert_unet_state_dict_to_peft, logging  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict  # noqa: E402
from peft.tuners.lora import LoraLayer  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

from common import write  # noqa: E402
from diffusers_cases import nets  # noqa: E402
from diffusers_cases.folders import pipeline  # noqa: E402
from diffusers_cases.formula import published  # noqa: E402

RANK = 2
ATTENTION = {"unet": ["to_q", "to_k", "to_v", "to_out.0"], "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj"]}
EVERY = {
    "unet": [*ATTENTION["unet"], "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv"],
    "text_encoder": [*ATTENTION["text_encoder"], "fc1", "fc2"],
}


def layers(model):
    """[name, shape of the weight] of each linear layer and convolution, in the order of the modules."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return [[published(model, name), list(module.weight.shape)] for name, module in model.named_modules() if isinstance(module, kinds)]


def digest(rows):
    text = "\n".join(f"{name} {','.join(map(str, shape))}" for name, shape in rows)
    return {"count": len(rows), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def published_sizes():
    """The layers of models in their published sizes, without their weights."""
    unet = dict(cross_attention_dim=768, attention_head_dim=8)
    unet2 = dict(cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True)
    text = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    text2 = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu")
    with torch.device("meta"):
        return {
            name: {"unet": digest(layers(UNet2DConditionModel(**u))), "text": digest(layers(CLIPTextModel(CLIPTextConfig(**t))))}
            for name, u, t in (("sd1", unet, text), ("sd2", unet2, text2))
        }


def adapted(targets, **options):
    """The state of LoRAs on the small UNet and a text encoder, as diffusers' training scripts take it."""
    models = {"unet": nets.unet("small"), "text_encoder": nets.text("sd1")}
    states = {}
    for part, model in models.items():
        config = LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=targets[part], **options)
        model.add_adapter(config)
        states[part] = get_peft_model_state_dict(model)
    return models, states


def with_text_model(key):
    """The names that checkpoints are published with; transformers from 5.6 on has its modules without 'text_model.'."""
    return key.replace("text_encoder.encoder.", "text_encoder.text_model.encoder.").replace("lora_te1_encoder_", "lora_te1_text_model_encoder_")


def keys(targets):
    """Sorted keys: what diffusers saves, PEFT's names in such a file with the shapes, kohya's, and diffusers' old names, which it makes of those."""
    models, states = adapted(targets)
    converted = {part: convert_state_dict_to_diffusers(state) for part, state in states.items()}
    with tempfile.TemporaryDirectory() as folder:
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=converted["unet"], text_encoder_lora_layers=converted["text_encoder"])
        saved = load_file(Path(folder) / "pytorch_lora_weights.safetensors")
    inside = {f"{part}.{key}": value for part, state in states.items() for key, value in state.items()}
    saved = {with_text_model(key): value for key, value in saved.items()}
    inside = {with_text_model(key): value for key, value in inside.items()}
    kohya = convert_state_dict_to_kohya(dict(inside))
    old, _ = _convert_non_diffusers_lora_to_diffusers({key: value.clone() for key, value in kohya.items()})
    shapes = {key: list(value.shape) for key, value in sorted(inside.items())}
    return {"diffusers": sorted(saved), "diffusersPeft": shapes, "kohya": sorted(kohya), "diffusersOld": sorted(old)}


def in_order(text):
    """A configuration's JSON with its sets sorted, which come in another order each time."""
    values = json.loads(text)
    return json.dumps({name: sorted(value) if name.endswith("target_modules") else value for name, value in values.items()})


def scales():
    """What PEFT makes of ranks and alphas in an adapter's folder: [name, rank, scale] of its layers."""
    cases = {
        "plain": dict(r=4, lora_alpha=2),
        "rslora": dict(r=4, lora_alpha=6, use_rslora=True),
        "patterns": dict(
            r=4, lora_alpha=4, rank_pattern={"to_q": 2, r"^mid_block\.attentions\.0\.transformer_blocks\.0\.attn1\.to_v": 3},
            alpha_pattern={"attn2.to_q": 8, "to_k": 1, r"mid_block.*to_v": 9},
        ),
    }
    result = {}
    for name, options in cases.items():
        model = get_peft_model(nets.unet("small"), LoraConfig(target_modules=ATTENTION["unet"], **options))
        rows = [[module.removeprefix("base_model.model."), layer.r["default"], layer.scaling["default"]] for module, layer in model.named_modules() if isinstance(layer, LoraLayer)]
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            with safe_open(Path(folder) / "adapter_model.safetensors", "pt") as file:
                sample = sorted(file.keys())[:2]
            config = in_order((Path(folder) / "adapter_config.json").read_text())
        result[name] = {"config": config, "layers": rows, "keys": sample}
    return result


def adapter_metadata():
    """The metadata of a file that diffusers saves with the configuration of its adapters."""
    models, states = adapted(ATTENTION, alpha_pattern={"to_k": 1, "k_proj": 5})
    with tempfile.TemporaryDirectory() as folder:
        configs = _collate_lora_metadata({"unet": models["unet"], "text_encoder": models["text_encoder"]})
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=states["unet"], text_encoder_lora_layers=states["text_encoder"], **configs)
        with safe_open(Path(folder) / "pytorch_lora_weights.safetensors", "pt") as file:
            return {name: in_order(value) if value.startswith("{") else value for name, value in file.metadata().items()}


def casts():
    """float32 as bits, and the bits of the nearest float16 and bfloat16."""
    values = [0.0, -0.0, 1.0, -1.5, 65504.0, 65519.0, 6.1e-5, 6.0e-5, 5.96e-8, 2.98e-8, 2.99e-8, -8.9e-8, 1.00048828125, 1.00146484375, 0.1, 1 / 3, 3.14159265, 1e-20, 3e38, 1.001953125, 1.005859375, 0.333251953]
    floats = torch.tensor(values, dtype=torch.float32)
    bits = lambda dtype: floats.to(dtype).view(torch.int16).numpy().view(np.uint16).tolist()
    return {"float32": floats.numpy().view(np.uint32).tolist(), "float16": bits(torch.float16), "bfloat16": bits(torch.bfloat16)}


def golden():
    write("lora_files", {
        "versions": "diffusers 0.42.1, peft 0.21.2",
        "tiny": {name: digest(layers(nets.unet(name))) for name in nets.UNETS},
        "published": published_sizes(),
        "keys": keys(EVERY),
        "scales": scales(),
        "adapterMetadata": adapter_metadata(),
        "casts": casts(),
    })


def loaded(path):
    """{ part: { layer: { scale, down, up } } } after diffusers, or PEFT, has loaded it."""
    if os.path.isdir(path):
        return {"unet": factors(PeftModel.from_pretrained(nets.unet("sd1"), path).base_model.model, "default"), "text_encoder": {}}
    pipe = pipeline("sd1")
    object.__delattr__(pipe.text_encoder, "text_model")  # that pipeline's own addition, which the loader takes for older modules
    folder, name = os.path.split(os.path.abspath(path))
    pipe.load_lora_weights(folder, weight_name=name, adapter_name="ours")
    return {part: factors(getattr(pipe, part), "ours") for part in ("unet", "text_encoder")}


def factors(model, adapter):
    return {
        published(model, name): {"scale": layer.scaling[adapter], "down": layer.lora_A[adapter].weight.flatten().tolist(), "up": layer.lora_B[adapter].weight.flatten().tolist()}
        for name, layer in model.named_modules() if isinstance(layer, LoraLayer) and adapter in layer.lora_A
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", default="golden", choices=["golden", "read"])
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if arguments.command == "golden":
        return golden()
    with contextlib.redirect_stdout(sys.stderr):
        result = [loaded(path) for path in arguments.files]
    json.dump(result, sys.stdout)


main()
