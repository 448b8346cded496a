"""LoRA by PEFT inside diffusers' nets: outputs of adapted nets, and five steps of training as diffusers' scripts train."""
import torch
from diffusers import DDPMScheduler
from diffusers.optimization import get_scheduler
from diffusers.training_utils import compute_snr
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer

from . import nets
from .folders import SCHEDULE
from .formula import fill, integers, published, stored
from .net_cases import token_ids

UNET_TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]
RANK, ALPHA = 4, 8
STEPS, BATCH, WARMUP = 5, 2, 2
SCALES = [1.0, 0.5]


def adapt(net, targets, zero_up):
    """Adds an adapter whose factors follow the formula, by the names of the layers; returns the factors by name."""
    net.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, init_lora_weights=False))
    factors = {}
    with torch.no_grad():
        for name, value in net.named_parameters():
            if ".lora_" not in name:
                continue
            layer, role = published(net, name.replace(".default.weight", "")).rsplit(".lora_", 1)
            key = f"{layer}.{'down' if role == 'A' else 'up'}"
            value.copy_(torch.zeros_like(value) if zero_up and role == "B" else 0.3 * fill(f"{key}.weight", value.shape))
            value.requires_grad_(True)
            factors[key] = value
    return factors


def set_scale(net, scale):
    for module in net.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_scale("default", scale)


def applied(model, targets):
    """Nets with adapters of every linear layer named, and of convolutions."""
    unet, text = nets.unet(model), nets.text(model)
    unet_factors, text_factors = adapt(unet, targets, False), adapt(text, TEXT_TARGETS, False)
    latents, context, ids = fill("input.latents", (2, 4, 8, 8)), fill("input.context", (2, 77, 32)), token_ids(0 if model == "sd2" else nets.END)
    case = {"model": model, "rank": RANK, "alpha": ALPHA, "ids": ids.tolist(), "unet": shapes(unet_factors), "text": shapes(text_factors), "scales": []}
    for scale in SCALES:
        set_scale(unet, scale)
        set_scale(text, scale)
        case["scales"].append({"scale": scale, "unet": stored(unet(latents, torch.tensor(481), context).sample), "text": stored(text(ids).last_hidden_state)})
    return case


def shapes(factors):
    return {name: list(value.shape) for name, value in factors.items()}


def trained(model, prediction, min_snr_gamma=0):
    """As diffusers' train_text_to_image_lora.py and train_dreambooth_lora.py: AdamW, cosine with warm-up, clipped gradients."""
    unet, text = nets.unet(model), nets.text(model)
    unet.requires_grad_(False)
    text.requires_grad_(False)
    factors = {f"unet.{k}": v for k, v in adapt(unet, UNET_TARGETS, True).items()} | {f"text_encoder.{k}": v for k, v in adapt(text, TEXT_TARGETS, True).items()}
    scheduler = DDPMScheduler(**{k: v for k, v in SCHEDULE.items() if k not in ("set_alpha_to_one", "steps_offset")}, prediction_type=prediction)
    optimizer = torch.optim.AdamW(factors.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
    schedule = get_scheduler("cosine", optimizer=optimizer, num_warmup_steps=WARMUP, num_training_steps=STEPS)
    size = (STEPS, BATCH, 4, 8, 8)
    latents, noise, timesteps = fill("input.train.latents", size), fill("input.train.noise", size), integers("input.train.timesteps", (STEPS, BATCH), 1000)
    ids = token_ids(0 if model == "sd2" else nets.END)[:1].repeat(BATCH, 1)
    losses = []
    with torch.enable_grad():
        for step in range(STEPS):
            t = timesteps[step]
            noisy = scheduler.add_noise(latents[step], noise[step], t)
            target = noise[step] if prediction == "epsilon" else scheduler.get_velocity(latents[step], noise[step], t)
            output = unet(noisy, t, text(ids).last_hidden_state).sample
            if min_snr_gamma == 0:
                loss = torch.nn.functional.mse_loss(output.float(), target.float(), reduction="mean")
            else:
                snr = compute_snr(scheduler, t)
                weight = torch.stack([snr, min_snr_gamma * torch.ones_like(t)], dim=1).min(dim=1)[0] / (snr if prediction == "epsilon" else snr + 1)
                loss = (torch.nn.functional.mse_loss(output.float(), target.float(), reduction="none").mean(dim=(1, 2, 3)) * weight).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(factors.values(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    names = sorted(factors)
    return {
        "model": model, "prediction": prediction, "minSnrGamma": min_snr_gamma, "rank": RANK, "alpha": ALPHA, "lr": 1e-3, "warmup": WARMUP, "steps": STEPS, "ids": ids[0].tolist(),
        "size": list(size), "schedule": {k: v for k, v in SCHEDULE.items() if k.startswith("beta")}, "losses": losses, "count": len(names),
        "factors": {name: stored(factors[name].detach(), 8) for name in names[:: max(1, len(names) // 40)]},
    }


def lora():
    everything = UNET_TARGETS + ["ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2", "conv_shortcut", "time_emb_proj"]
    return {
        "applied": [applied("sd1", UNET_TARGETS), applied("sd2", UNET_TARGETS), applied("sd1", everything)],
        "trained": [trained("sd1", "epsilon"), trained("sd2", "v_prediction"), trained("sd1", "epsilon", 5.0)],
    }
