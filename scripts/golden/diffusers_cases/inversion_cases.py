"""DDIM inversion, and edit-friendly DDPM inversion (arXiv 2304.06140, algorithm 1) with diffusers' own pieces (LEDITS++)."""
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from diffusers.pipelines.ledits_pp.pipeline_leditspp_stable_diffusion import compute_noise_ddim

from . import nets
from .folders import COMPONENTS, SCHEDULE
from .formula import fill, stored
from .net_cases import token_ids

STEPS = 6
NOISE_SEED = 11


def setting(model, prediction):
    unet, text = nets.unet(COMPONENTS[model]["unet"]), nets.text(COMPONENTS[model]["text"])
    scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False, prediction_type=prediction)
    scheduler.set_timesteps(STEPS)
    ids = token_ids(0 if model == "sd2" else nets.END)
    cond, uncond = text(ids[:1]).last_hidden_state, text(ids[1:]).last_hidden_state
    return unet, scheduler, ids, cond, uncond, fill("input.latents", (1, 4, 8, 8))


def ddim(model, prediction):
    """Forth with the conditional prediction only, and back again."""
    unet, scheduler, ids, cond, _, x = setting(model, prediction)
    inverse = DDIMInverseScheduler.from_config(scheduler.config)
    inverse.set_timesteps(STEPS)
    forth = []
    for t in inverse.timesteps:
        x = inverse.step(unet(x, t, cond).sample, t, x).prev_sample
        forth.append(x)
    for t in scheduler.timesteps:
        x = scheduler.step(unet(x, t, cond).sample, t, x).prev_sample
    return {
        "model": model, "prediction": prediction, "ids": ids[0].tolist(), "steps": STEPS, "timesteps": inverse.timesteps.tolist(), "setAlphaToOne": False,
        "latents": [1, 4, 8, 8], "forth": [stored(x) for x in forth], "back": stored(x),
    }


def edit_friendly(model, guidance):
    """x_t from x_0 with independent noises, z_t from neighbouring x_t, and the replay with eta 1."""
    unet, scheduler, ids, cond, uncond, x0 = setting(model, "epsilon")

    def predict(x, t):
        eps = unet(x, t, uncond).sample
        return eps if guidance == 1 else eps + guidance * (unet(x, t, cond).sample - eps)

    timesteps = scheduler.timesteps.flip(0)  # ascending: latents[i + 1] belongs to timesteps[i], latents[0] is x_0
    generator = torch.Generator().manual_seed(NOISE_SEED)
    noise = [torch.randn(x0.shape, generator=generator) for _ in timesteps]
    latents = [x0] + [scheduler.add_noise(x0, e, t.reshape(1)) for e, t in zip(noise, timesteps)]
    z = [compute_noise_ddim(scheduler, latents[i], latents[i + 1], t, predict(latents[i + 1], t), 1.0)[0] for i, t in enumerate(timesteps)]

    def replay(first):
        """From latents[first] down, with the noises found."""
        x = latents[first]
        for i in reversed(range(first)):
            x = scheduler.step(predict(x, timesteps[i]), timesteps[i], x, eta=1.0, variance_noise=z[i]).prev_sample
        return x

    return {
        "model": model, "guidance": guidance, "ids": ids.tolist(), "steps": STEPS, "timesteps": timesteps.tolist(), "setAlphaToOne": False,
        "latents": [1, 4, 8, 8], "noiseSeed": NOISE_SEED, "noise": [stored(e) for e in noise],
        "sequence": [stored(x) for x in latents[1:]], "z": [stored(v) for v in z],
        "replays": [{"first": first, "result": stored(replay(first)), "error": (replay(first) - x0).abs().max().item()} for first in (STEPS, 3)],
    }


def inversions():
    return {"ddim": [ddim("sd1", "epsilon"), ddim("sd2", "v_prediction")], "editFriendly": [edit_friendly("sd1", 1), edit_friendly("sd1", 3.5)]}
