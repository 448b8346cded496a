"""The layout of single-file checkpoints: which original name becomes which parameter, by diffusers' own conversion.

The original names are written here from the architecture (numbered input, middle and output blocks); diffusers' converters turn
tensors of those names and shapes into parameters, which must then be exactly the model's. Every value is tagged, so where each
parameter came from can be read off, also where one original tensor holds three.
"""
import hashlib

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint, convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint, convert_open_clip_checkpoint
from transformers import CLIPTextConfig, CLIPTextModel

from . import nets

REAL_UNET = dict(sample_size=64, block_out_channels=(320, 640, 1280, 1280), down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)
REAL_UNETS = {
    "sd1.5": dict(REAL_UNET, attention_head_dim=8, cross_attention_dim=768),
    "sd2.1": dict(REAL_UNET, attention_head_dim=(5, 10, 20, 20), cross_attention_dim=1024, use_linear_projection=True, upcast_attention=True),
}
REAL_VAE = dict(sample_size=512, block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
REAL_TEXTS = {
    "sd1.5": dict(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, hidden_act="quick_gelu"),
    "sd2.1": dict(vocab_size=49408, hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu"),
}
TAG = 2**32  # larger than any tensor: float64 holds tag and position exactly

RESNET = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}


def renamed(shapes, old, new, inner=None):
    """Parameters under `new`, under `old` and with the inner names swapped."""
    out = {}
    for name, shape in shapes.items():
        if not name.startswith(new + "."):
            continue
        rest = name[len(new) :]
        for theirs, ours in (inner or {}).items():
            rest = rest.replace(f".{ours}.", f".{theirs}.")
        out[old + rest] = shape
    return out


def original_unet(net):
    """Names and shapes of the original layout: blocks are numbered through all levels."""
    shapes, config = {n: tuple(p.shape) for n, p in net.named_parameters()}, net.config
    per_level, out, number = config.layers_per_block, {}, 1
    for old, new in {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2", "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out"}.items():
        out |= renamed(shapes, old, new)
    levels = len(config.block_out_channels)
    for level in range(levels):
        for layer in range(per_level):
            out |= renamed(shapes, f"input_blocks.{number}.0", f"down_blocks.{level}.resnets.{layer}", RESNET)
            out |= renamed(shapes, f"input_blocks.{number}.1", f"down_blocks.{level}.attentions.{layer}")
            number += 1
        if level < levels - 1:
            out |= renamed(shapes, f"input_blocks.{number}.0.op", f"down_blocks.{level}.downsamplers.0.conv")
            number += 1
    for old, new in ((0, "resnets.0"), (1, "attentions.0"), (2, "resnets.1")):
        out |= renamed(shapes, f"middle_block.{old}", f"mid_block.{new}", RESNET if old != 1 else None)
    for level in range(levels):
        for layer in range(per_level + 1):
            block = f"output_blocks.{level * (per_level + 1) + layer}"
            attention = renamed(shapes, f"{block}.1", f"up_blocks.{level}.attentions.{layer}")
            out |= renamed(shapes, f"{block}.0", f"up_blocks.{level}.resnets.{layer}", RESNET) | attention
            if layer == per_level:
                out |= renamed(shapes, f"{block}.{2 if attention else 1}.conv", f"up_blocks.{level}.upsamplers.0.conv")
    return {"model.diffusion_model." + name: shape for name, shape in out.items()}


def original_vae(net):
    """The attention's matrices are 1 x 1 convolutions; the decoder's levels are counted from the finest."""
    shapes, levels, out = {n: tuple(p.shape) for n, p in net.named_parameters()}, len(net.config.block_out_channels), {}
    shortcut = {"nin_shortcut": "conv_shortcut"}
    for name in ("quant_conv", "post_quant_conv"):
        out |= renamed(shapes, name, name)
    for side in ("encoder", "decoder"):
        for old, new in {"conv_in": "conv_in", "conv_out": "conv_out", "norm_out": "conv_norm_out"}.items():
            out |= renamed(shapes, f"{side}.{old}", f"{side}.{new}")
        for i in range(2):
            out |= renamed(shapes, f"{side}.mid.block_{i + 1}", f"{side}.mid_block.resnets.{i}", shortcut)
        attention = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
        for name, shape in renamed(shapes, f"{side}.mid.attn_1", f"{side}.mid_block.attentions.0", attention).items():
            out[name] = (*shape, 1, 1) if len(shape) == 2 else shape
        for level in range(levels):
            down, there = ("down", level) if side == "encoder" else ("up", levels - 1 - level)
            out |= renamed(shapes, f"{side}.{down}.{there}.block", f"{side}.{down}_blocks.{level}.resnets", shortcut)
            out |= renamed(shapes, f"{side}.{down}.{there}.{down}sample.conv", f"{side}.{down}_blocks.{level}.{down}samplers.0.conv")
    return {"first_stage_model." + name: shape for name, shape in out.items()}


def original_clip(net):
    return {"cond_stage_model.transformer.text_model." + name: tuple(p.shape) for name, p in net.named_parameters()}


def original_open_clip(config):
    """One block more than is used: Stable Diffusion 2 reads the output of the last but one."""
    width, inner = config.hidden_size, config.intermediate_size
    out = {"positional_embedding": (config.max_position_embeddings, width), "token_embedding.weight": (config.vocab_size, width), "text_projection": (width, width), "logit_scale": ()}
    out |= {f"ln_final.{kind}": (width,) for kind in ("weight", "bias")}
    for i in range(config.num_hidden_layers + 1):
        block = f"transformer.resblocks.{i}"
        out |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
        for name, shape in {"attn.out_proj": (width, width), "mlp.c_fc": (inner, width), "mlp.c_proj": (width, inner)}.items():
            out |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        for name in ("ln_1", "ln_2"):
            out |= {f"{block}.{name}.weight": (width,), f"{block}.{name}.bias": (width,)}
    return {"cond_stage_model.model." + name: shape for name, shape in out.items()}


def traced(original, convert, expected, unused=()):
    """[original name, its shape, first row, parameter] of each parameter; the conversion must give exactly `expected`."""
    names = list(original)
    checkpoint = {name: (torch.arange(max(1, torch.Size(shape).numel()), dtype=torch.float64) + i * TAG).reshape(shape) for i, (name, shape) in enumerate(original.items())}
    converted = {name: value for name, value in convert(checkpoint).items() if name not in unused}
    assert {n: tuple(v.shape) for n, v in converted.items()} == expected, set(converted) ^ set(expected)
    rows = []
    for name, value in sorted(converted.items()):
        first = int(value.flatten()[0].item())
        source, offset = names[first // TAG], first % TAG
        length = torch.Size(original[source][1:]).numel()
        assert torch.equal(value.flatten(), checkpoint[source].flatten()[offset : offset + value.numel()]), name
        rows.append([source, list(original[source]), offset // length, name])
    used = {row[0] for row in rows}
    return {"map": rows, "unused": [[n, list(original[n])] for n in names if n not in used]}


def shapes_of(net, prefix=""):
    return {prefix + n: tuple(p.shape) for n, p in net.named_parameters()}


def digest(shapes):
    """A whole list of names and shapes in one number: sha256 over the sorted lines "name 1,2,3"."""
    lines = sorted(f"{name} {','.join(map(str, shape))}" for name, shape in shapes.items())
    return {"count": len(lines), "elements": sum(torch.Size(s).numel() for s in shapes.values()), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def older_vae(net):
    """The attention's older names, which folders published for Stable Diffusion 1.x still have."""
    rest = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    original = dict(shapes_of(net))
    for side in ("encoder", "decoder"):
        path = f"{side}.mid_block.attentions.0"
        older = renamed(shapes_of(net), path, path, rest)
        original = {name: shape for name, shape in original.items() if not name.startswith(path)} | older
    return original


def tiny():
    content = {}
    for name in ("sd1", "sd2"):
        net = nets.unet(name)
        content[f"unet.{name}"] = traced(original_unet(net), lambda c, net=net: convert_ldm_unet_checkpoint(c, net.config), shapes_of(net))
    vae = nets.vae("sd")
    content["vae.sd"] = traced(original_vae(vae), lambda c: convert_ldm_vae_checkpoint(c, vae.config), shapes_of(vae))
    content["vae.older"] = traced(older_vae(vae), lambda c: vae._fix_state_dict_keys_on_load(c.copy()), shapes_of(vae))
    content["vae.older"]["map"] = [row for row in content["vae.older"]["map"] if row[0] != row[3]]
    clip = nets.text("sd1")
    content["text.sd1"] = traced(original_clip(clip), lambda c: convert_ldm_clip_checkpoint(c), shapes_of(clip, "text_model."))
    # 23 layers, as published: the converter knows the unused block by its number.
    open_clip = CLIPTextModel(CLIPTextConfig(vocab_size=nets.VOCABULARY, hidden_size=32, intermediate_size=64, num_attention_heads=4, num_hidden_layers=23, hidden_act="gelu"))
    content["text.sd2"] = traced(original_open_clip(open_clip.config), lambda c: convert_open_clip_checkpoint(open_clip, c), shapes_of(open_clip, "text_model."), {"text_projection.weight", "text_model.text_projection.weight"})
    return content


def real():
    content = {}
    with torch.device("meta"):
        for name in REAL_UNETS:
            unet, vae, text = UNet2DConditionModel(**REAL_UNETS[name]), AutoencoderKL(latent_channels=4, **REAL_VAE), CLIPTextModel(CLIPTextConfig(**REAL_TEXTS[name]))
            texts = original_clip(text) if name == "sd1.5" else original_open_clip(text.config)
            original = original_unet(unet) | original_vae(vae) | texts
            content[name] = {
                "config": {"unet": REAL_UNETS[name], "vae": REAL_VAE, "text": REAL_TEXTS[name]},
                "unet": digest(shapes_of(unet)), "vae": digest(shapes_of(vae)), "text": digest(shapes_of(text, "text_model.")), "original": digest(original),
            }
    return content


def single_file():
    return {"tiny": tiny(), "real": real()}
