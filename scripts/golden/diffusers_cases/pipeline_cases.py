"""Whole generations on the tiny nets, by diffusers' pipelines."""
import numpy as np
import torch
from common import picture
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)

from .folders import folders, pipeline
from .formula import stored

SEEDS = [5, 6]
PROMPT, NEGATIVE = "a photo of a red cat", "dog in the house"


def images(size):
    """uint8 pictures, one a seed."""
    return np.stack([picture(size, size, 3, salt) for salt in range(len(SEEDS))])


def mask(size):
    """White right of the middle: what is painted anew. Its border crosses no latent."""
    x = np.zeros((1, 1, size, size), np.float32)
    x[..., size // 2 :] = 1
    return torch.from_numpy(x)


def described(scheduler):
    """The configuration as a folder's scheduler_config.json has it, without limits at infinity, which JSON cannot say."""
    return {"_class_name": type(scheduler).__name__, **{k: v for k, v in scheduler.config.items() if not k.startswith("_") and v != float("-inf")}}


def run(title, model, scheduler, make=StableDiffusionPipeline, change=None, **call):
    """One call of a pipeline: options, timesteps, the latents after the first step and at the end, the picture in [0, 1]."""
    pipe = pipeline(model, make)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **(change or {}))
    options = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": 4, "guidance_scale": 5.0, **call}
    tensors = {}
    if make is StableDiffusionPipeline:
        options = {"width": 32, "height": 32, **options}
    else:
        tensors["image"] = torch.from_numpy(images(32)).permute(0, 3, 1, 2).float() / 255
    if make is StableDiffusionInpaintPipeline:
        tensors["mask_image"] = mask(32).expand(2, -1, -1, -1)
        options = {"width": 32, "height": 32, **options}
    single = isinstance(options["prompt"], str)
    if single and tensors:  # one picture, one prompt
        options["prompt"], options["negative_prompt"], single = [options["prompt"]] * 2, [options["negative_prompt"]] * 2, False
    after, timesteps = [], []

    def keep(_pipe, _step, timestep, kwargs):
        after.append(kwargs["latents"].clone())
        timesteps.append(timestep.item())
        return {}

    latents = pipe(
        **options, **tensors, num_images_per_prompt=len(SEEDS) if single else 1, generator=[torch.Generator().manual_seed(s) for s in SEEDS],
        output_type="latent", callback_on_step_end=keep,
    ).images
    decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    return {
        "title": title, "kind": {StableDiffusionPipeline: "text", StableDiffusionImg2ImgPipeline: "image", StableDiffusionInpaintPipeline: "inpaint"}[make],
        "model": model, "scheduler": described(pipe.scheduler), "seeds": SEEDS, "options": options,
        "timesteps": timesteps, "firstStep": stored(after[0]), "latents": stored(latents),
        "image": stored((decoded / 2 + 0.5).clamp(0, 1), 512),
    }


def pipelines():
    trailing = {"timestep_spacing": "trailing"}
    runs = [
        run("PNDM, the model's own", "sd1", PNDMScheduler),
        run("DDIM", "sd1", DDIMScheduler, change={"clip_sample": False}),
        run("DDIM with eta 1, guidance rescale and a skipped layer", "sd1", DDIMScheduler, change={"clip_sample": False}, eta=1.0, guidance_rescale=0.7, clip_skip=1),
        run("Euler, two prompts", "sd1", EulerDiscreteScheduler, prompt=[PROMPT, "a house"], negative_prompt=[NEGATIVE, ""]),
        run("Euler, wide, without guidance", "sd1", EulerDiscreteScheduler, change=trailing, width=48, guidance_scale=1.0),
        run("Euler ancestral", "sd1", EulerAncestralDiscreteScheduler),
        run("DPM-Solver++ 2M", "sd1", DPMSolverMultistepScheduler),
        run("v: DDIM", "sd2", DDIMScheduler),
        run("v: DDIM, zero terminal SNR, trailing, guidance rescale", "sd2", DDIMScheduler, change={**trailing, "rescale_betas_zero_snr": True}, guidance_rescale=0.7),
        run("v: Euler", "sd2", EulerDiscreteScheduler),
        run("v: DPM-Solver++ 2M, Karras", "sd2", DPMSolverMultistepScheduler, change={"use_karras_sigmas": True}),
        run("image: DDIM", "sd1", DDIMScheduler, StableDiffusionImg2ImgPipeline, {"clip_sample": False}, strength=0.6, num_inference_steps=5),
        run("image: Euler", "sd1", EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline, strength=0.6, num_inference_steps=5),
        run("image: DPM-Solver++ 2M, v", "sd2", DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline, strength=0.6, num_inference_steps=5),
        run("inpaint: DDIM", "sd1", DDIMScheduler, StableDiffusionInpaintPipeline, {"clip_sample": False}, strength=1.0),
        run("inpaint: Euler, strength 0.75", "sd1", EulerDiscreteScheduler, StableDiffusionInpaintPipeline, strength=0.75),
    ]
    return {"folders": folders(), "runs": runs}
