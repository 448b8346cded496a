"""Three updates of an autoencoder, of a CLIP, of factors in one and of a UNet, each written out in plain PyTorch around diffusers' and transformers' nets."""
import math

import torch
from diffusers import AutoencoderKL, DDPMScheduler
from diffusers.training_utils import compute_snr
from peft import LoraConfig, inject_adapter_in_model

from . import nets
from .folders import SCHEDULE
from .formula import fill, fill_model, integers, stored, stored_model
from .net_cases import token_ids

STEPS, BATCH, LR, CLIP = 3, 4, 2e-3, 1.0
SHOWN = 400  # values kept of all weights together, one after the other


def update(net, losses, lr=LR, slow=None):
    """Runs the updates: AdamW with decay on matrices only, cosine without warm-up, clipped gradients. `slow`: another net and its share of the rate."""
    groups = []
    for part, share in [(net, 1.0), *([slow] if slow else [])]:
        learned = [value for value in part.parameters() if value.requires_grad]
        groups.append({"params": [v for v in learned if v.dim() > 1], "weight_decay": 0.01, "share": share})
        groups.append({"params": [v for v in learned if v.dim() <= 1], "weight_decay": 0.0, "share": share})
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), eps=1e-8)
    seen = []
    for step, loss in enumerate(losses):
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * lr * 0.5 * (1 + math.cos(math.pi * step / len(losses)))
        optimizer.zero_grad()
        with torch.enable_grad():
            value = loss()
            value.backward()
        torch.nn.utils.clip_grad_norm_([v for group in groups for v in group["params"]], CLIP)
        optimizer.step()
        seen.append(value.item())
    return seen


def weights_of(net):
    """Without the keys' biases: softmax takes them out, so that their gradient is rounding, which AdamW makes as large as any other."""
    ordered = sorted((name, value) for name, value in net.named_parameters() if not name.endswith("k_proj.bias"))
    return stored(torch.cat([value.detach().flatten() for _, value in ordered]), SHOWN)


def autoencoder():
    levels = 2
    net = fill_model(AutoencoderKL(
        block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=16, scaling_factor=1.0, mid_block_add_attention=False,
        down_block_types=["DownEncoderBlock2D"] * levels, up_block_types=["UpDecoderBlock2D"] * levels,
    ))
    model = stored_model(net)
    pictures = integers("input.pretrain.pictures", (6, 16, 24, 3), 256)
    places, noise = integers("input.pretrain.places", (STEPS, BATCH), 6), fill("input.pretrain.noise", (STEPS, BATCH, 4, 8, 12))

    def loss(step):
        x = pictures[places[step]].permute(0, 3, 1, 2).float() / 127.5 - 1
        posterior = net.encode(x).latent_dist
        error = net.decode(posterior.mean + posterior.std * noise[step]).sample - x
        edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar)
        return error.abs().mean() + 0.5 * edges + 5e-4 * kl.mean()

    losses = update(net, [lambda step=step: loss(step) for step in range(STEPS)])
    with torch.no_grad():
        x = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
        posterior = net.encode(x).latent_dist
        y = ((net.decode(posterior.mean).sample + 1) * 127.5).round().clamp(0, 255)
        mse = ((y - pictures.permute(0, 3, 1, 2)) ** 2).double().mean(dim=(1, 2, 3))
        mean = posterior.mean.double().mean(dim=(0, 2, 3))
        std = ((posterior.mean.double() ** 2 + posterior.var.double()).mean(dim=(0, 2, 3)) - mean**2).sqrt()
    return {
        "model": model, "steps": STEPS, "batch": BATCH, "lr": LR, "losses": losses, "weights": weights_of(net),
        "psnr": (10 * torch.log10(255**2 / mse)).mean().item(), "mean": mean.tolist(), "std": std.tolist(),
    }


CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
LENGTH, GROUPS, PLACES = 12, [0, 1, 2, 0, 3, 4], [[0, 1, 2, 3], [4, 5, 0, 4], [2, 3, 1, 5]]


def captions(count):
    """Begin, 3 to 7 tokens, end, and more ends."""
    words, lengths = integers("input.pretrain.words", (count, LENGTH), nets.START), integers("input.pretrain.lengths", (count,), 5) + 3
    ids = torch.full((count, LENGTH), nets.END)
    for row in range(count):
        ids[row, 0] = nets.START
        ids[row, 1 : 1 + lengths[row]] = words[row, : lengths[row]]
    return ids


def clip():
    net = nets.both_towers()
    model = stored_model(net)
    pictures, ids, groups = integers("input.pretrain.faces", (6, 32, 32, 3), 256), captions(6), torch.tensor(GROUPS)

    def loss(step):
        places = torch.tensor(PLACES[step])
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
        pixels = (pictures[places].permute(0, 3, 1, 2).float() / 255 - mean) / std
        logits = net(input_ids=ids[places], pixel_values=pixels).logits_per_text
        other = (groups[places][:, None] == groups[places][None]) & ~torch.eye(len(places), dtype=torch.bool)
        logits = logits.masked_fill(other, -torch.inf)
        own = torch.arange(len(places))
        return (torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)) / 2

    losses = update(net, [lambda step=step: loss(step) for step in range(STEPS)])
    return {"model": model, "ids": ids.tolist(), "groups": GROUPS, "places": PLACES, "lr": LR, "losses": losses, "logitScale": net.logit_scale.exp().item(), "weights": weights_of(net)}


CLASSES, LABELS, RANK, ALPHA = 3, [0, 1, 2, 0, 1, 2], 4, 8


def clip_classifier():
    """DataDream's classifier: sentences about classes, PEFT's factors for queries and values of both towers, as it is and after the updates."""
    net = nets.both_towers().requires_grad_(False)
    model = stored_model(net)
    pictures, ids, labels = integers("input.pretrain.faces", (6, 32, 32, 3), 256), captions(2 * CLASSES), torch.tensor(LABELS)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    pixels = (pictures.permute(0, 3, 1, 2).float() / 255 - mean) / std

    def unit(x):
        return x / x.norm(dim=-1, keepdim=True)

    def logits():
        sentences = unit(net.text_projection(net.text_model(ids).pooler_output)).view(CLASSES, 2, -1)
        images = unit(net.visual_projection(net.vision_model(pixels).pooler_output))
        return net.logit_scale.exp() * images @ unit(sentences.mean(dim=1)).T

    zero_shot = logits()
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "v_proj"], init_lora_weights=False), net)
    factors = {}
    for name, value in net.named_parameters():
        if ".lora_" in name:
            layer, role = name.replace(".default.weight", "").rsplit(".lora_", 1)
            value.copy_(torch.zeros_like(value) if role == "B" else 0.3 * fill(f"{layer}.down.weight", value.shape))
            value.requires_grad_(True)
            factors[f"{layer}.{'down' if role == 'A' else 'up'}"] = value
    losses = update(net, [lambda: torch.nn.functional.cross_entropy(logits(), labels) for _ in range(STEPS)])
    ordered = torch.cat([factors[name].detach().flatten() for name in sorted(factors)])
    return {
        "model": model, "ids": ids.tolist(), "classes": CLASSES, "labels": LABELS, "rank": RANK, "alpha": ALPHA, "lr": LR, "shapes": {name: list(factors[name].shape) for name in sorted(factors)},
        "zeroShot": zero_shot.flatten().tolist(), "losses": losses, "factors": stored(ordered, SHOWN), "trained": logits().flatten().tolist(),
    }


TEXT_SHARE = 0.25


def unet():
    """A UNet from nothing known, on velocities, errors weighted by clamp(snr, 1, 5) / (snr + 1); the text encoder stays as it is, then learns along."""
    alone, along = unet_updates(0), unet_updates(TEXT_SHARE)
    return {**alone, "textShare": TEXT_SHARE, "along": {name: along[name] for name in ("losses", "weights", "textWeights")}}


def unet_updates(text_share):
    net, text = nets.unet("sd2"), nets.text("sd2").requires_grad_(False)
    scheduler = DDPMScheduler(**{name: value for name, value in SCHEDULE.items() if name not in ("set_alpha_to_one", "steps_offset")}, prediction_type="v_prediction")
    size = (STEPS, BATCH, 4, 8, 8)
    latents, noise, timesteps = fill("input.pretrain.latents", size), fill("input.pretrain.velocity", size), integers("input.pretrain.timesteps", (STEPS, BATCH), 1000)
    ids = token_ids(0)[integers("input.pretrain.captions", (STEPS, BATCH), 2)]

    def loss(step):
        t = timesteps[step]
        output = net(scheduler.add_noise(latents[step], noise[step], t), t, text(ids[step]).last_hidden_state).sample
        snr = compute_snr(scheduler, t)
        error = (output - scheduler.get_velocity(latents[step], noise[step], t)).square().mean(dim=(1, 2, 3))
        return (error * snr.clamp(1, 5) / (snr + 1)).mean()

    slow = (text.requires_grad_(True), text_share) if text_share else None
    losses = update(net.requires_grad_(True), [lambda step=step: loss(step) for step in range(STEPS)], slow=slow)
    schedule = {name: value for name, value in SCHEDULE.items() if name.startswith("beta")}
    return {"size": list(size), "schedule": schedule, "ids": ids.tolist(), "lr": LR, "losses": losses, "weights": weights_of(net), **({"textWeights": weights_of(text)} if slow else {})}


def pretrain():
    return {"autoencoder": autoencoder(), "clip": clip(), "clipClassifier": clip_classifier(), "unet": unet()}
