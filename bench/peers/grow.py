"""DataDream's first two stages in diffusers with PEFT: an adapter per class, then pictures of the class, as PNG files.

python3 grow.py released|mended MODEL SHOTS OUT ADAPT_STEPS BATCH RANK PER_CLASS STEPS GENERATE_BATCH THREADS DTYPE      a round (all classes) per line on standard input

released: as the paper's code, which loads the model for each class and again to generate, and encodes pictures and prompts at every step.
mended: one model, and one more to draw with in DTYPE where that is not float32; latents and prompts encoded once where they are constant; the adapter folded into the weights while pictures are made.
"""
import json
import pathlib
import shutil
import sys
import time

import torch

import torchvision_ops  # noqa: F401, I001  before the packages that import torchvision
import numpy as np  # noqa: E402
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline  # noqa: E402
from diffusers.optimization import get_scheduler  # noqa: E402
from diffusers.utils import convert_state_dict_to_diffusers, logging  # noqa: E402
from peft import LoraConfig, inject_adapter_in_model  # noqa: E402
from peft.utils import get_peft_model_state_dict  # noqa: E402
from PIL import Image  # noqa: E402

kind, model, shots, out = sys.argv[1], *map(pathlib.Path, sys.argv[2:5])
adapt_steps, batch, rank, per_class, steps, generate_batch, threads = map(int, sys.argv[5:12])
torch.set_num_threads(threads)
logging.set_verbosity_error()
logging.disable_progress_bar()
drawn_in = getattr(torch, sys.argv[12])
GUIDANCE, WARM_UP = 2.0, 10


def load(dtype=torch.float32):
    pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None, feature_extractor=None, requires_safety_checker=False, torch_dtype=dtype)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pixels_of(folder):
    return torch.stack([torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1 for path in sorted(folder.iterdir())])


def ids_of(pipe, prompts):
    return pipe.tokenizer(prompts, padding="max_length", truncation=True, max_length=pipe.tokenizer.model_max_length, return_tensors="pt").input_ids


def train(pipe, pixels, prompt, keep):
    unet, text = pipe.unet.requires_grad_(False), pipe.text_encoder.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=["q_proj", "k_proj", "v_proj", "out_proj"]), text)  # transformers asks for a newer PEFT than there is
    factors = [value for net in (unet, text) for value in net.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(factors, lr=1e-4, weight_decay=1e-2)
    schedule = get_scheduler("cosine", optimizer=optimizer, num_warmup_steps=WARM_UP, num_training_steps=adapt_steps)
    noise = DDPMScheduler.from_config(pipe.scheduler.config)
    with torch.no_grad():
        kept = pipe.vae.encode(pixels).latent_dist if keep else None
    unet.train(), text.train()
    for _ in range(adapt_steps):
        with torch.no_grad():
            latents = (kept or pipe.vae.encode(pixels).latent_dist).sample()[:batch] * pipe.vae.config.scaling_factor
        t = torch.randint(0, noise.config.num_train_timesteps, (len(latents),))
        eps = torch.randn_like(latents)
        states = text(ids_of(pipe, [prompt]))[0].expand(len(latents), -1, -1) if keep else text(ids_of(pipe, [prompt] * len(latents)))[0]
        output = unet(noise.add_noise(latents, eps, t), t, states).sample
        target = noise.get_velocity(latents, eps, t) if noise.config.prediction_type == "v_prediction" else eps
        torch.nn.functional.mse_loss(output.float(), target.float()).backward()
        torch.nn.utils.clip_grad_norm_(factors, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    unet.eval(), text.eval()


def save(pipe, folder):
    layers = {name: convert_state_dict_to_diffusers(get_peft_model_state_dict(net)) for name, net in (("unet", pipe.unet), ("text_encoder", pipe.text_encoder))}
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers["unet"], text_encoder_lora_layers=layers["text_encoder"])


@torch.no_grad()
def generate(pipe, prompt, folder, encode_once):
    given = {}
    if encode_once:
        own, empty = (pipe.text_encoder(ids_of(pipe, [text]))[0] for text in (prompt, ""))
        given = {"prompt_embeds": own.expand(generate_batch, -1, -1), "negative_prompt_embeds": empty.expand(generate_batch, -1, -1)}
    folder.mkdir(parents=True)
    for first in range(0, per_class, generate_batch):
        call = given or {"prompt": [prompt] * generate_batch}
        for i, image in enumerate(pipe(**call, num_inference_steps=steps, guidance_scale=GUIDANCE).images):
            image.save(folder / f"{first + i}.png")


def released(folder):
    prompt = f"a photo of a {folder.name}"
    pipe = load()
    train(pipe, pixels_of(folder), prompt, keep=False)
    save(pipe, out / folder.name / "lora")
    pipe = load()
    pipe.load_lora_weights(out / folder.name / "lora")
    generate(pipe, prompt, out / folder.name / "images", encode_once=False)


def mended(folder, pipe, drawer):
    prompt = f"a photo of a {folder.name}"
    train(pipe, pixels_of(folder), prompt, keep=True)
    save(pipe, out / folder.name / "lora")
    if drawer is not pipe:
        pipe.unload_lora_weights()
        drawer.load_lora_weights(out / folder.name / "lora")
    drawer.fuse_lora()
    generate(drawer, prompt, out / folder.name / "images", encode_once=True)
    drawer.unfuse_lora()
    drawer.unload_lora_weights()


shared = load() if kind == "mended" else None
drawer = shared if drawn_in is torch.float32 or shared is None else load(drawn_in)
print(json.dumps({"engine": f"diffusers, {kind}"}), flush=True)
for _ in sys.stdin:
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    for folder in sorted(shots.iterdir()):
        released(folder) if kind == "released" else mended(folder, shared, drawer)
    print(json.dumps({"seconds": time.perf_counter() - begin}), flush=True)
