"""LoRA by PEFT on the queries and values of the tiny vision transformer of vit.py: logits with given factors, and five steps of AdamW on factors and head."""
import torch
import vit
from common import ramp, write
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.nn import functional as F

RANK, ALPHA, STEPS, TARGETS = 4, 8, 5, ["q", "v"]


class Attention(nn.Module):
    """timm's attention with its fused layer taken apart, since PEFT would give that one pair of factors for all three."""

    def __init__(self, fused):
        super().__init__()
        self.heads = fused.num_heads
        width = fused.proj.in_features
        for i, name in enumerate("qkv"):
            layer = nn.Linear(width, width)
            layer.weight.data = fused.qkv.weight.data[i * width : (i + 1) * width].clone()
            layer.bias.data = fused.qkv.bias.data[i * width : (i + 1) * width].clone()
            setattr(self, name, layer)
        self.proj = fused.proj

    def forward(self, x, **_):
        B, L, D = x.shape
        q, k, v = (getattr(self, name)(x).reshape(B, L, self.heads, D // self.heads).transpose(1, 2) for name in "qkv")
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, L, D))


def adapted(zero_up):
    """The net with factors by formula; returns it and them, by the names of the parts of the fused layer."""
    net = vit.model()
    for block in net.blocks:
        block.attn = Attention(block.attn)
    net = inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS), net)
    factors = {}
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.requires_grad_(".lora_" in name or name.startswith("head."))
            if ".lora_" not in name:
                continue
            block, part, role = name.replace("blocks.", "").replace(".attn.", " ").replace(".lora_", " ").split(" ")[0], name.split(".")[3], name.split(".lora_")[1][0]
            key = f"blocks.{block}.attn.qkv.{part}.{'down' if role == 'A' else 'up'}"
            salt = 100 + 10 * int(block) + 2 * TARGETS.index(part) + (role == "B")
            value.copy_(torch.zeros_like(value) if zero_up and role == "B" else torch.from_numpy(ramp(salt, tuple(value.shape), 0.8)))
            factors[key] = value
    return net, factors


def main():
    net, factors = adapted(False)
    with torch.no_grad():
        logits = net.eval()(vit.batch()[0])
    trained, own = adapted(True)
    parameters = list(own.values()) + [trained.head.weight, trained.head.bias]
    decay, plain = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    optimiser, losses = vit.adamw(decay, plain), []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = vit.loss_of(trained, 0.1)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    shown = {**own, "head.weight": trained.head.weight, "head.bias": trained.head.bias}
    write("vit_lora", {"rank": RANK, "alpha": ALPHA, "targets": TARGETS, "shapes": {k: list(v.shape) for k, v in factors.items()}, "logits": logits.tolist(), "losses": losses,
                       "parameters": {k: v.detach().flatten().tolist() for k, v in shown.items()}})


if __name__ == "__main__":
    main()
