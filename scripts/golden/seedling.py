"""The shipped seedling in diffusers: what it gives for a prompt, as golden file.

node -e "import('seedbed').then(async ({ loadDiffusion }) => (await loadDiffusion('seedling', { dtype: 'float32' })).save('FOLDER', { dtype: 'float32' }))"
python3 scripts/golden/seedling.py FOLDER

FOLDER holds its weights in float32: int8 with a scale for each row is this package's own.
"""
import hashlib
import pathlib
import sys

import torch
from common import GOLDEN, write

import torchvision_ops  # noqa: F401  before diffusers, which imports torchvision
from diffusers import StableDiffusionPipeline  # noqa: E402
from diffusers.utils import logging  # noqa: E402
from diffusers_cases.formula import stored  # noqa: E402

PROMPT, TIMESTEP, SEED, STEPS, GUIDANCE, SHOWN = "a 3D render of a strawberry", 481, 5, 8, 3.0, 400

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)
shipped = GOLDEN.parents[1] / "models" / "seedling" / "unet" / "diffusion_pytorch_model.safetensors"
with torch.no_grad():
    pipe = StableDiffusionPipeline.from_pretrained(pathlib.Path(sys.argv[1]), safety_checker=None, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    ids = pipe.tokenizer(PROMPT, padding="max_length", max_length=pipe.tokenizer.model_max_length, truncation=True, return_tensors="pt").input_ids
    context = pipe.text_encoder(ids)[0]
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(SEED))
    noise = pipe.unet(latents, TIMESTEP, context).sample
    generated = pipe(PROMPT, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=torch.Generator().manual_seed(SEED), output_type="latent").images
    image = (pipe.vae.decode(generated / pipe.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
write("seedling", {
    "unet": hashlib.sha256(shipped.read_bytes()).hexdigest(), "prompt": PROMPT, "timestep": TIMESTEP, "seed": SEED, "steps": STEPS, "guidance": GUIDANCE, "ids": ids[0].tolist(),
    "context": stored(context, SHOWN), "noise": stored(noise, SHOWN), "generated": stored(generated, SHOWN), "image": stored(image, SHOWN),
})
