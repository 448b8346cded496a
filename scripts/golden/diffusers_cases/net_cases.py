"""Outputs of UNet, autoencoder and CLIP towers, with a few values from inside."""
import torch

from . import nets
from .formula import fill, integers, stored, stored_model, watched

LENGTH = 77


def unet_run(net, name, size, timesteps, freeu=None, batch=2):
    """timesteps: one number for the whole batch, or one each."""
    latents, context = fill("input.latents", (batch, 4, *size)), fill("input.context", (batch, LENGTH, 32))
    timestep = torch.tensor(timesteps)
    if freeu:
        net.enable_freeu(**freeu)
    inside = ["time_embedding", "conv_in", "down_blocks.0.resnets.0", "down_blocks.1.attentions.0", "mid_block", "up_blocks.0"]
    output, seen = watched(net, inside, lambda: net(latents, timestep, context).sample)
    if freeu:
        net.disable_freeu()
    return {
        "name": name, "latents": list(latents.shape), "context": list(context.shape), "timestep": timesteps, "freeu": freeu,
        "inside": seen, "output": stored(output),
    }


def unets():
    content = {}
    for name in nets.UNETS:
        net = nets.unet(name)
        runs = [unet_run(net, "8 x 8", (8, 8), 481), unet_run(net, "another timestep", (8, 8), 1)]
        if name == "sd1":
            runs += [
                unet_run(net, "a timestep each", (8, 8), [999, 20]),
                unet_run(net, "between two timesteps", (8, 8), 480.625),
                unet_run(net, "not square", (8, 12), 481),
                unet_run(net, "FreeU", (16, 16), 481, dict(s1=0.9, s2=0.2, b1=1.2, b2=1.4), batch=1),
            ]
        content[name] = {**stored_model(net), "runs": runs}
    return content


def vaes():
    content = {}
    for name in nets.VAES:
        net = nets.vae(name)
        factor = 2 ** (len(net.config.block_out_channels) - 1)
        pixels, latents = fill("input.pixels", (2, 3, 6 * factor, 8 * factor)), fill("input.latents", (2, 4, 6, 8))
        case = {
            **stored_model(net),
            "pixels": list(pixels.shape), "moments": stored(net.encode(pixels).latent_dist.parameters),
            "latents": list(latents.shape), "decoded": stored(net.decode(latents).sample),
        }
        if name == "sd":
            net.enable_tiling()
            wide, wide_pixels = fill("input.latents", (1, 4, 14, 12)), fill("input.pixels", (1, 3, 14 * factor, 12 * factor))
            case["tiled"] = {
                "tileLatents": net.tile_latent_min_size, "overlap": net.tile_overlap_factor,
                "latents": list(wide.shape), "decoded": stored(net.decode(wide).sample),
                "pixels": list(wide_pixels.shape), "moments": stored(net.encode(wide_pixels).latent_dist.parameters),
            }
        content[name] = case
    return content


def token_ids(pad):
    """Two rows: 7 words and 75 words between start and end; the rest padded."""
    words = integers("input.ids", (2, LENGTH), nets.START)
    rows = torch.full((2, LENGTH), pad)
    for row, count in enumerate((7, LENGTH - 2)):
        rows[row, 0], rows[row, 1 : count + 1], rows[row, count + 1] = nets.START, words[row, :count], nets.END
    return rows


def texts():
    content = {}
    for name in nets.TEXTS:
        net = nets.text(name)
        ids = token_ids(0 if name == "sd2" else nets.END)
        output = net(ids, output_hidden_states=True)
        case = {**stored_model(net), "ids": ids.tolist(), "lastHiddenState": stored(output.last_hidden_state)}
        inner = getattr(net, "text_model", net)
        case["penultimate"] = stored(inner.final_layer_norm(output.hidden_states[-2]))
        if name == "projection":
            case["textEmbeds"] = stored(output.text_embeds)
        else:
            case["pooled"] = stored(output.pooler_output)
        content[name] = case
    return content


def visions():
    net = nets.vision()
    pixels = fill("input.pixels", (2, 3, 32, 32))
    output = net(pixels)
    tower = {
        **stored_model(net), "pixels": list(pixels.shape),
        "lastHiddenState": stored(output.last_hidden_state), "pooled": stored(net.vision_model(pixels).pooler_output), "imageEmbeds": stored(output.image_embeds),
    }
    both = nets.both_towers()
    ids = token_ids(nets.END)
    joint = both(input_ids=ids, pixel_values=pixels)
    return {
        "vision": tower,
        "both": {
            **stored_model(both), "pixels": list(pixels.shape), "ids": ids.tolist(),
            "textEmbeds": stored(joint.text_embeds), "imageEmbeds": stored(joint.image_embeds), "logitsPerImage": stored(joint.logits_per_image),
        },
    }
