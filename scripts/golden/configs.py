"""config.json files as diffusers and transformers write them: of each class's defaults, of Stable Diffusion 1.5 and 2.1 sizes."""
import json
import tempfile

import torch
from common import write

import torchvision_ops  # noqa: F401  before diffusers, which imports torchvision
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModelWithProjection  # noqa: E402

VAE = dict(
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    sample_size=512,
)
SD1_TEXT = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768, bos_token_id=0, eos_token_id=2)
SD2_TEXT = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu", projection_dim=512, bos_token_id=0, eos_token_id=2)
SD2_UNET = dict(sample_size=96, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True, upcast_attention=True)


def diffusers_json(net):
    return json.loads(net.to_json_string())


def transformers_json(net):
    """What save_pretrained writes, without the weights."""
    net.config.architectures = [type(net).__name__]
    with tempfile.TemporaryDirectory() as folder:
        net.config.save_pretrained(folder)
        return json.load(open(folder + "/config.json"))


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def entry(net):
    make = diffusers_json if hasattr(net, "to_json_string") else transformers_json
    return {"json": make(net), "parameters": count(net)}


with torch.device("meta"):
    nets = {
        "unet": {"default": UNet2DConditionModel(), "sd1": UNet2DConditionModel(sample_size=64, cross_attention_dim=768), "sd2": UNet2DConditionModel(**SD2_UNET)},
        "vae": {"default": AutoencoderKL(), "sd1": AutoencoderKL(**VAE)},
        "text": {
            "default": CLIPTextModel(CLIPTextConfig()),
            "sd1": CLIPTextModel(CLIPTextConfig(**SD1_TEXT)),
            "sd2": CLIPTextModel(CLIPTextConfig(**SD2_TEXT)),
            "projection": CLIPTextModelWithProjection(CLIPTextConfig(projection_dim=640)),
        },
        "vision": {"projection": CLIPVisionModelWithProjection(CLIPVisionConfig(projection_dim=640))},
    }
pipeline = StableDiffusionPipeline(None, None, None, None, DDIMScheduler(), None, None, requires_safety_checker=False)
index = json.loads(pipeline.to_json_string())
write("configs", {"nets": {kind: {name: entry(net) for name, net in group.items()} for kind, group in nets.items()}, "scheduler": diffusers_json(DDIMScheduler()), "index": index})
