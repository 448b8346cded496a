"""Training steps of the seedling's autoencoder or UNet in diffusers and PyTorch, on ready tensors.

python3 pretrain.py autoencoder|unet SIDE BATCH STEPS float32|bfloat16 THREADS      a round per line on standard input
"""
import sys

import torch
from diffusion import diffusers_classes
from rounds import serve_rounds

kind = sys.argv[1]
side, batch, steps = map(int, sys.argv[2:5])
bf16, threads = sys.argv[5] == "bfloat16", int(sys.argv[6])
torch.set_num_threads(threads)
classes = diffusers_classes()
AutoencoderKL, UNet2DConditionModel, CLIPTextModel = (classes[name] for name in ("vae", "unet", "text_encoder"))

TOKENS, WORDS = 32, 4000


def autoencoder():
    net = AutoencoderKL(
        block_out_channels=(32, 64, 128), layers_per_block=1, norm_num_groups=8, latent_channels=4, sample_size=64, mid_block_add_attention=False,
        down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3,
    )
    x = torch.rand(batch, 3, side, side) * 2 - 1

    def loss():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            posterior = net.encode(x).latent_dist
            y = net.decode(posterior.sample()).sample
        error = y.float() - x
        edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
        return error.abs().mean() + 0.5 * edges + 5e-4 * posterior.kl().mean()

    return net, loss


def unet():
    net = UNet2DConditionModel(
        sample_size=side, in_channels=4, out_channels=4, block_out_channels=(64, 128, 192), layers_per_block=1, cross_attention_dim=192, norm_num_groups=32, use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(2, 4, 6),
    )
    text = CLIPTextModel(CLIPTextModel.config_class(vocab_size=WORDS, hidden_size=192, intermediate_size=768, num_hidden_layers=4, num_attention_heads=6, max_position_embeddings=TOKENS)).eval()
    x, target, t = torch.randn(batch, 4, side, side), torch.randn(batch, 4, side, side), torch.randint(0, 1000, (batch,))
    ids = torch.randint(0, WORDS - 1, (batch, TOKENS))

    def loss():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            with torch.no_grad():
                states = text(ids).last_hidden_state
            output = net(x, t, states).sample
        return (output.float() - target).square().mean()

    return net, loss


net, loss = autoencoder() if kind == "autoencoder" else unet()
net = net.to(memory_format=torch.channels_last)
optimiser = torch.optim.AdamW(net.parameters(), 1e-4, fused=True)


def step():
    loss().backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


serve_rounds(step, steps)
