"""Whole pipelines of the tiny nets: tokenizer, scheduler and index beside the components of unet, vae and text."""
import json
import tempfile
from pathlib import Path

from diffusers import DDIMScheduler, PNDMScheduler, StableDiffusionPipeline
from transformers import CLIPTokenizer

from . import nets

MERGES = "c a|ca t</w>|d o|do g</w>|r e|re d</w>|h o|u s|ho us|hous e</w>|i n|in g</w>|t o</w>|p h|ph o|pho to</w>".split("|")
START, END = "<|startoftext|>", "<|endoftext|>"

# As published: Stable Diffusion 1.5's own scheduler, and 2.1's prediction.
SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, set_alpha_to_one=False, steps_offset=1)
SCHEDULERS = {
    "sd1": lambda: PNDMScheduler(**SCHEDULE, skip_prk_steps=True),
    "sd2": lambda: DDIMScheduler(**SCHEDULE, clip_sample=False, prediction_type="v_prediction"),
}
COMPONENTS = {"sd1": {"unet": "sd1", "vae": "sd", "text": "sd1"}, "sd2": {"unet": "sd2", "vae": "sd", "text": "sd2"}}


def letters():
    """The 256 letters that stand for bytes: printable ones for themselves, the others from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def vocabulary():
    tokens = letters() + [letter + "</w>" for letter in letters()] + [merge.replace(" ", "") for merge in MERGES] + [START, END]
    assert len(tokens) == nets.VOCABULARY
    return {token: i for i, token in enumerate(tokens)}


def tokenizer(name):
    pad = "!" if name == "sd2" else END
    return CLIPTokenizer(vocab=vocabulary(), merges=[tuple(m.split()) for m in MERGES], pad_token=pad, model_max_length=77)


def tokenizer_files(name):
    """As Stable Diffusion's folders have them; newer transformers write tokenizer.json instead."""
    special = lambda content: {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    map_ = {"bos_token": special(START), "eos_token": special(END), "pad_token": "!" if name == "sd2" else END, "unk_token": special(END)}
    config = {
        "add_prefix_space": False, "bos_token": special(START), "do_lower_case": True, "eos_token": special(END), "errors": "replace",
        "model_max_length": 77, "pad_token": END, "tokenizer_class": "CLIPTokenizer", "unk_token": special(END),
    }
    return {
        "vocab.json": json.dumps(vocabulary()), "merges.txt": "#version: 0.2\n" + "\n".join(MERGES) + "\n",
        "special_tokens_map.json": json.dumps(map_), "tokenizer_config.json": json.dumps({**config, "pad_token": map_["pad_token"]}),
    }


def pipeline(name, make=StableDiffusionPipeline, scheduler=None):
    parts = COMPONENTS[name]
    pipe = make(
        unet=nets.unet(parts["unet"]), vae=nets.vae(parts["vae"]), text_encoder=nets.text(parts["text"]), tokenizer=tokenizer(name),
        scheduler=scheduler or SCHEDULERS[name](), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    # clip_skip asks for the tower by this name; newer transformers have it no more. Not as a submodule: it is the same object.
    object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def folders():
    """What a test needs, beside the components' own golden files, to write a pipeline's folder."""
    content = {}
    for name, parts in COMPONENTS.items():
        pipe = pipeline(name)
        with tempfile.TemporaryDirectory() as folder:
            pipe.save_pretrained(folder)
            files = {path: (Path(folder) / path).read_text() for path in ("model_index.json", "scheduler/scheduler_config.json")}
        content[name] = {"components": parts, "files": files | {f"tokenizer/{path}": text for path, text in tokenizer_files(name).items()}}
    return content
