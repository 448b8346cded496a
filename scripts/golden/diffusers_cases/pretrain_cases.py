"""Three updates of an autoencoder and of a CLIP, each written out in plain PyTorch around diffusers' and transformers' nets."""
import math

import torch
from diffusers import AutoencoderKL

from .formula import fill, fill_model, integers, stored, stored_model

STEPS, BATCH, LR, CLIP = 3, 4, 2e-3, 1.0
SHOWN = 400  # values kept of all weights together, one after the other


def update(net, losses, lr=LR):
    """Runs the updates: AdamW with decay on matrices only, cosine without warm-up, clipped gradients."""
    named = [(name, value) for name, value in net.named_parameters() if value.requires_grad]
    matrices, vectors = [v for _, v in named if v.dim() > 1], [v for _, v in named if v.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), eps=1e-8)
    seen = []
    for step, loss in enumerate(losses):
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / len(losses)))
        optimizer.zero_grad()
        with torch.enable_grad():
            value = loss()
            value.backward()
        torch.nn.utils.clip_grad_norm_([v for _, v in named], CLIP)
        optimizer.step()
        seen.append(value.item())
    return seen


def weights_of(net, rename=lambda name: name):
    ordered = sorted((rename(name), value) for name, value in net.named_parameters())
    return stored(torch.cat([value.detach().flatten() for _, value in ordered]), SHOWN)


def autoencoder():
    levels = 2
    net = fill_model(AutoencoderKL(
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=16, scaling_factor=1.0, mid_block_add_attention=False,
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


def pretrain():
    return {"autoencoder": autoencoder()}
