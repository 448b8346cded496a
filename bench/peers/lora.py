"""One step of LoRA training in diffusers with PEFT, and what an adapter costs at inference there, on a folder of random weights.

python3 lora.py FOLDER train|infer BATCH THREADS [--recompute]

train: rank 16 on the projections of UNet and text encoder, AdamW, fixed draws. A line about itself when ready, then a step per line on standard
input: { seconds, loss, peakMb }. infer: a line "plain", "adapter", "merged" or "switch" (between two adapters, with set_adapters) for each round: { seconds }.
"""
import argparse
import pathlib
import sys
import time

from diffusion import TOKENS, configuration, diffusers_classes, peak_mb, say


def draws(folder, batch, steps):
    """The numbers of peers/lora.mjs: latents, noise, timesteps."""
    import numpy as np

    side = configuration(folder, "unet")["sample_size"]
    count = steps * batch * 4 * side * side
    wave = lambda salt: np.sin(np.arange(count, dtype=np.float64) * 12.9898 + salt).astype(np.float32).reshape(steps, batch, 4, side, side) * 1.4
    timesteps = (np.arange(steps * batch) * 137 + 41).reshape(steps, batch) % 1000
    return wave(1), wave(2), timesteps


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("mode", choices=["train", "infer"])
    parser.add_argument("batch", type=int)
    parser.add_argument("threads", type=int)
    parser.add_argument("--recompute", action="store_true")
    a = parser.parse_args()
    import torch

    classes = diffusers_classes()
    from peft import LoraConfig

    torch.set_num_threads(a.threads)
    unet = classes["unet"].from_pretrained(a.folder / "unet").float()
    text = classes["text_encoder"].from_pretrained(a.folder / "text_encoder").float()
    unet.requires_grad_(False)
    text.requires_grad_(False)
    config = lambda targets: LoraConfig(r=16, lora_alpha=16, init_lora_weights="gaussian", target_modules=targets)
    names = ["default"] if a.mode == "train" else ["a", "b"]
    plain = None
    latents, noise, timesteps = (torch.from_numpy(x) for x in draws(a.folder, a.batch, 8))
    context = torch.zeros(a.batch, TOKENS, configuration(a.folder, "unet")["cross_attention_dim"])

    def infer():
        with torch.inference_mode():
            unet(latents[0], timesteps[0], context, return_dict=False)

    if a.mode == "infer":
        infer()
        began = time.perf_counter()
        infer()
        plain = time.perf_counter() - began
    for name in names:
        unet.add_adapter(config(["to_q", "to_k", "to_v", "to_out.0"]), name)
        text.add_adapter(config(["q_proj", "k_proj", "v_proj", "out_proj"]), name)
    say(engine="diffusers with PEFT", peakMb=peak_mb(), plain=plain)
    if a.mode == "infer":
        for line in sys.stdin:
            began = time.perf_counter()
            if line.strip() == "switch":
                for name in ("a", "b"):
                    unet.set_adapters([name], [0.7])
            else:
                (unet.disable_adapters if line.strip() == "plain" else unet.enable_adapters)()
                if line.strip() == "merged":
                    unet.fuse_lora(adapter_names=["a"])
                    unet.disable_lora()
                began = time.perf_counter()
                infer()
            say(seconds=(time.perf_counter() - began) / (2 if line.strip() == "switch" else 1))
            if line.strip() == "merged":
                unet.unfuse_lora()
        return

    unet.train()
    text.train()
    if a.recompute:
        unet.enable_gradient_checkpointing()
        text.gradient_checkpointing_enable()
    parameters = [p for m in (unet, text) for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=1e-2)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    ids = torch.full((a.batch, TOKENS), 320)
    for step, _ in enumerate(sys.stdin):
        began = time.perf_counter()
        i = step % 8
        alpha = alphas[timesteps[i]].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents[i] + (1 - alpha).sqrt() * noise[i]
        output = unet(noisy, timesteps[i], text(ids, return_dict=False)[0], return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(output, noise[i])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        say(seconds=time.perf_counter() - began, loss=loss.item(), peakMb=peak_mb())


main()
