"""Token ids of captions by transformers' CLIPTokenizer on the seedling's vocabulary.

    python3 scripts/golden/seedling_tokenizer.py
"""

from common import GOLDEN, write
from transformers import CLIPTokenizer

FOLDER = GOLDEN.parents[1] / "models" / "seedling" / "tokenizer"
CAPTIONS = [
    "a 3D render of a strawberry",
    "a flat drawing of three small strawberries",
    "a glossy cartoon of a woman playing water polo tilted to the left in the top right corner on a light blue and white striped background",
    "a blob emoji of a face with tears of joy, a face, upside down on a gradient from red to blue",
    "a grey photo of an ankle boot on black",
    "an ankle boot, grey photo, on black",
    "a sticker of two pairs of jeans",
    "a clock at three o'clock, flat drawing, mirrored",
    "a men's room sign, a woman's hat, a rescue worker's helmet",
    "two piñatas on a purple fractal background",
    "a T-Rex, a DVD and an x-ray",
    "words that nobody drew: zyzzyva 42 größe 東京",
]


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


tokenizer = CLIPTokenizer.from_pretrained(FOLDER)
write("seedling-tokenizer", {"length": tokenizer.model_max_length, "cases": [{"text": text, "ids": ids(tokenizer, text)} for text in CAPTIONS]})
