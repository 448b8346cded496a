"""Folders that cross between diffusers and seedbed, for a test that runs where diffusers is installed.

python3 diffusers_roundtrip.py make FOLDER [--sd2]    saves a tiny random pipeline there; prints what it gives for a prompt, as JSON
python3 diffusers_roundtrip.py check FOLDER [--lora FILE]    loads a folder (and an adapter) with diffusers and prints the outputs for the same inputs

Both print { ids, context, latents, timestep, noise, generated, image }: the prompt's token ids and embedding, a UNet call on latents
from seed 3, and two DDIM steps at guidance 4 from seed 5 with the picture decoded. Tensors are { shape, values }.
"""
import argparse
import json
import sys

import torch

import torchvision_ops  # noqa: F401  before diffusers, which imports torchvision
from diffusers import DDIMScheduler, StableDiffusionPipeline  # noqa: E402
from diffusers.utils import logging  # noqa: E402
from diffusers_cases.folders import pipeline  # noqa: E402

PROMPT, TIMESTEP, NOISE_SEED, SEED, STEPS, GUIDANCE, WEIGHT_SEED = "a photo of a red cat", 481, 3, 5, 2, 4.0, 17


def plain(tensor):
    return {"shape": list(tensor.shape), "values": tensor.flatten().tolist()}


def outputs(pipe):
    pipe.set_progress_bar_config(disable=True)
    size = pipe.unet.config.sample_size
    ids = pipe.tokenizer(PROMPT, padding="max_length", max_length=pipe.tokenizer.model_max_length, truncation=True, return_tensors="pt").input_ids
    context = pipe.text_encoder(ids)[0]
    latents = torch.randn(1, pipe.unet.config.in_channels, size, size, generator=torch.Generator().manual_seed(NOISE_SEED))
    noise = pipe.unet(latents, TIMESTEP, context).sample
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    generated = pipe(PROMPT, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=torch.Generator().manual_seed(SEED), output_type="latent").images
    image = (pipe.vae.decode(generated / pipe.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    return {
        "prompt": PROMPT, "timestep": TIMESTEP, "steps": STEPS, "guidance": GUIDANCE, "seed": SEED, "ids": ids[0].tolist(),
        "context": plain(context), "latents": plain(latents), "noise": plain(noise), "generated": plain(generated), "image": plain(image),
    }


def make(folder, sd2):
    """Random weights, so that they agree with no formula that the loading side could know."""
    pipe = pipeline("sd2" if sd2 else "sd1")
    generator = torch.Generator().manual_seed(WEIGHT_SEED)
    for net in (pipe.unet, pipe.vae, pipe.text_encoder):
        for value in net.parameters():
            value.mul_(1 + 0.2 * torch.randn(value.shape, generator=generator))
    pipe.save_pretrained(folder)
    return outputs(pipe)


def check(folder, lora):
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True)
    if lora:
        pipe.load_lora_weights(lora)
    return outputs(pipe)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("command", choices=["make", "check"])
parser.add_argument("folder")
parser.add_argument("--sd2", action="store_true", help="the shape of Stable Diffusion 2.x")
parser.add_argument("--lora", help="a .safetensors file")
arguments = parser.parse_args()
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)
with torch.no_grad():
    json.dump(make(arguments.folder, arguments.sd2) if arguments.command == "make" else check(arguments.folder, arguments.lora), sys.stdout)
