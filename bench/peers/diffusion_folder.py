"""Model folders of the real shapes with random weights, for benchmarks: as published, with index, scheduler and tokenizer."""
import json

import torch

import torchvision_ops  # noqa: F401, I001  before the packages that import torchvision
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

WORDS = 49408
START, END = "<|startoftext|>", "<|endoftext|>"

UNETS = {
    "sd15": dict(sample_size=64, block_out_channels=(320, 640, 1280, 1280), attention_head_dim=8, cross_attention_dim=768),
    "small": dict(sample_size=16, block_out_channels=(64, 128, 192), attention_head_dim=(2, 4, 6), cross_attention_dim=128),
}
VAES = {
    "sd15": dict(sample_size=512, block_out_channels=(128, 256, 512, 512), layers_per_block=2),
    "small": dict(sample_size=64, block_out_channels=(32, 64, 128), layers_per_block=1),
}
TEXTS = {
    "sd15": dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12),
    "small": dict(hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4),
}


def unet(size):
    levels = len(UNETS[size]["block_out_channels"])
    return UNet2DConditionModel(
        **UNETS[size], layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
    )


def vae(size):
    levels = len(VAES[size]["block_out_channels"])
    return AutoencoderKL(**VAES[size], latent_channels=4, down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels)


def text(size):
    return CLIPTextModel(CLIPTextConfig(**TEXTS[size], vocab_size=WORDS, hidden_act="quick_gelu", bos_token_id=0, eos_token_id=2))


def filled(make, generator):
    """Small normal weights; the norms' are 1."""
    with torch.device("meta"):
        net = make()
    net = net.to_empty(device="cpu")
    with torch.no_grad():
        for value in net.parameters():
            value.normal_(std=0.02, generator=generator) if value.ndim > 1 else value.zero_()
        for name, value in net.named_parameters():
            if value.ndim == 1 and name.endswith("weight"):
                value.fill_(1)
    for name, value in net.named_buffers():  # position numbers
        value.copy_(torch.arange(value.numel()).reshape(value.shape))
    return net


def published_names(path):
    """Newer transformers leave the prefix out."""
    if path.exists():
        save_file({f"text_model.{name.removeprefix('text_model.')}": value for name, value in load_file(path).items()}, path, {"format": "pt"})


def tokenizer_files():
    """As many tokens and merges as CLIP's tokenizer has; the merges join pairs of letters."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    pairs = [(a, b) for a in letters for b in letters][: WORDS - 514]
    tokens = letters + [letter + "</w>" for letter in letters] + [a + b for a, b in pairs] + [START, END]
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    return {
        "vocab.json": json.dumps({token: i for i, token in enumerate(tokens)}), "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in pairs),
        "special_tokens_map.json": json.dumps(special), "tokenizer_config.json": json.dumps({**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}),
    }


def write_folder(folder, size, fp16):
    if (folder / "model_index.json").exists():  # written last
        return
    generator = torch.Generator().manual_seed(0)
    for name, make in {"unet": unet, "vae": vae, "text_encoder": text}.items():
        net = filled(lambda: make(size), generator)
        net.save_pretrained(folder / name)
        if fp16:
            net.half().save_pretrained(folder / name, variant="fp16")
    for variant in ("model.safetensors", "model.fp16.safetensors"):
        published_names(folder / "text_encoder" / variant)
    PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1).save_pretrained(folder / "scheduler")
    (folder / "tokenizer").mkdir(exist_ok=True)
    for name, content in tokenizer_files().items():
        (folder / "tokenizer" / name).write_text(content)
    parts = {"scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    none = {name: [None, None] for name in ("feature_extractor", "safety_checker")}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "requires_safety_checker": False, **none, **parts}))
