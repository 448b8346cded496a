"""Attention probabilities inside the UNet, with their contrast changed and with keys and values of another picture."""
from diffusers.models.attention_processor import AttnProcessor

from . import nets
from .formula import fill, stored

LENGTH = 77
SHOWN = 512
TIMESTEP = 481


def contrasted(p, strength):
    """As the code of cross-image attention does it."""
    mean = p.mean(-1, keepdim=True)
    return ((p - mean) * strength + mean).clip(0, 1)


def run(title, record=(), contrast=None, swap=None):
    """contrast: (beginning of the names, strength); swap: (beginning of the names, from, to)."""
    net = nets.unet("sd1")
    net.set_attn_processor(AttnProcessor())  # the one that asks for the scores
    seen = {}

    def control(name, layer):
        scores = layer.get_attention_scores

        def changed(*args):
            p = scores(*args)  # [B heads, Lq, Lk]
            if contrast and name.startswith(contrast[0]):
                p = contrasted(p, contrast[1])
            if name in record:
                seen[name] = stored(p.unflatten(0, (-1, layer.heads)), SHOWN)
            return p

        layer.get_attention_scores = changed
        if swap and name.startswith(swap[0]) and name.endswith("attn1"):

            def swapped(_module, _inputs, output):
                output = output.clone()
                output[swap[2]] = output[swap[1]]
                return output

            layer.to_k.register_forward_hook(swapped)
            layer.to_v.register_forward_hook(swapped)

    for name, layer in net.named_modules():
        if name.endswith((".attn1", ".attn2")):
            control(name, layer)
    latents, context = fill("input.latents", (2, 4, 8, 8)), fill("input.context", (2, LENGTH, 32))
    output = net(latents, TIMESTEP, context).sample
    return {"title": title, "contrast": contrast, "swap": swap, "recorded": seen, "output": stored(output)}


def attention():
    up = "up_blocks.2.attentions.1.transformer_blocks.0"
    return {
        "model": "sd1", "latents": [2, 4, 8, 8], "context": [2, LENGTH, 32], "timestep": TIMESTEP,
        "runs": [
            run("recorded", record=(f"{up}.attn1", f"{up}.attn2")),
            run("more contrast", record=(f"{up}.attn1",), contrast=("up_blocks", 1.67)),
            run("other keys and values", record=(f"{up}.attn1",), swap=("up_blocks.2", 1, 0)),
            run("both", contrast=("down_blocks.1", 0.5), swap=("up_blocks", 0, 1)),
        ],
    }
