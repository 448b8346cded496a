"""Faster generation with other results: token merging by its authors' package, feature caching by its authors' package."""
import tomesd
import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from . import nets
from .folders import pipeline
from .formula import fill, stored
from .pipeline_cases import NEGATIVE, PROMPT, SEEDS, described


def merged(net, size, ratio):
    """Always into the token at the top left of each square: what is drawn depends on the program."""
    latents, context = fill("input.latents", (2, 4, *size)), fill("input.context", (2, 77, 32))
    tomesd.apply_patch(net, ratio=ratio, max_downsample=1, use_rand=False)
    output = net(latents, torch.tensor(481), context).sample
    tomesd.remove_patch(net)
    return {"ratio": ratio, "latents": list(latents.shape), "context": list(context.shape), "timestep": 481, "output": stored(output)}


def cached(scheduler, steps, interval, branch, change=None):
    pipe = pipeline("sd1")
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **(change or {}))
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=interval, cache_branch_id=branch)
    helper.enable()
    latents = pipe(
        PROMPT, negative_prompt=NEGATIVE, num_inference_steps=steps, guidance_scale=5.0, width=32, height=32, num_images_per_prompt=len(SEEDS),
        generator=[torch.Generator().manual_seed(s) for s in SEEDS], output_type="latent",
    ).images
    helper.disable()
    return {
        "interval": interval, "branch": branch, "scheduler": described(pipe.scheduler), "prompt": PROMPT, "negativePrompt": NEGATIVE, "steps": steps,
        "guidanceScale": 5.0, "size": 32, "seeds": SEEDS, "latents": stored(latents),
    }


def shortcuts():
    net = nets.unet("sd1")
    return {
        "tokenMerging": [merged(net, (8, 8), 0.5), merged(net, (8, 12), 0.75), merged(net, (8, 8), 0.1), merged(net, (7, 9), 0.5)],
        "featureCache": [
            cached(DDIMScheduler, 5, 2, 0, {"clip_sample": False}),
            cached(DDIMScheduler, 5, 3, 2, {"clip_sample": False}),
            cached(EulerDiscreteScheduler, 5, 3, 1),
            cached(EulerDiscreteScheduler, 4, 1, 0),
        ],
    }
