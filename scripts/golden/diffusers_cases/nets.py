"""Tiny nets in the shapes of the published ones, with formula weights."""
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModelWithProjection

from .formula import fill_model

VOCABULARY = 530  # 512 bytes, 16 merges, start and end of text
START, END = VOCABULARY - 2, VOCABULARY - 1

# Several channels in each normalisation group: with one, the norm would take the time embedding and the biases out again.
UNETS = {
    # attention_head_dim is the number of heads here, whatever its name says.
    "sd1": dict(
        sample_size=8, block_out_channels=(32, 64, 64), layers_per_block=2, norm_num_groups=8, attention_head_dim=8, cross_attention_dim=32,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    ),
    "sd2": dict(
        sample_size=8, block_out_channels=(32, 64, 64), layers_per_block=2, norm_num_groups=16, attention_head_dim=(2, 4, 4), cross_attention_dim=32,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        use_linear_projection=True, upcast_attention=True,
    ),
    "small": dict(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, attention_head_dim=(2, 4), cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    ),
    "uneven": dict(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=(3, 1), norm_num_groups=8, attention_head_dim=(2, 4), cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    ),
}

VAES = {
    "sd": dict(sample_size=32, block_out_channels=(32, 64, 64), layers_per_block=2, norm_num_groups=8),
    "small": dict(sample_size=16, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4),
}

TEXT = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, max_position_embeddings=77, num_attention_heads=4, projection_dim=16, bos_token_id=0)
TEXTS = {
    # The published configurations name token 2 as the end; then the largest id marks it.
    "sd1": (CLIPTextModel, dict(TEXT, num_hidden_layers=3, hidden_act="quick_gelu", eos_token_id=2)),
    "sd2": (CLIPTextModel, dict(TEXT, num_hidden_layers=2, hidden_act="gelu", eos_token_id=2)),
    "projection": (CLIPTextModelWithProjection, dict(TEXT, num_hidden_layers=2, hidden_act="quick_gelu", eos_token_id=END)),
}

VISION = dict(image_size=32, patch_size=8, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, projection_dim=16)


def unet(name):
    return fill_model(UNet2DConditionModel(**UNETS[name]))


def vae(name):
    levels = len(VAES[name]["block_out_channels"])
    return fill_model(AutoencoderKL(latent_channels=4, down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels, **VAES[name]))


def text(name):
    make, config = TEXTS[name]
    return fill_model(make(CLIPTextConfig(**config)))


def vision():
    return fill_model(CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)))


def both_towers():
    text_config = CLIPTextConfig(**dict(TEXT, num_hidden_layers=2, hidden_act="quick_gelu", eos_token_id=END)).to_dict()
    return fill_model(CLIPModel(CLIPConfig(text_config=text_config, vision_config=CLIPVisionConfig(**VISION).to_dict(), projection_dim=16)))
