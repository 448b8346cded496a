"""Textual inversion by diffusers' load_textual_inversion: token ids and states of prompts with placeholders."""
from . import folders
from .formula import fill, stored

# In order of loading. The vectors follow the formula, by the name of the token. Several only for tokens in small letters: diffusers does not find the others' names in the prompt, and uses the first vector alone.
EMBEDDINGS = {"<s1>": 1, "<s2>": 3, "My-Style": 1, "zebra": 1}
PROMPTS = [
    "a photo of <s1> in the house",
    "a<s1>cat, <s2>!",
    "<s2>",
    "A RED my-style DOG with <S1>",
    "a My-Style house of a zebra, zebras",
    "<s2>_2 and <s1> <s1>",
    "<s3> is none; <s1 neither",
    "nothing of the kind",
    "cat " * 74 + "<s2>",
]


def textual_inversion():
    cases = {}
    for name in ("sd1", "sd2"):
        pipe = folders.pipeline(name)
        for token, vectors in EMBEDDINGS.items():
            pipe.load_textual_inversion({token: fill(f"input.embedding.{token}", (vectors, 32))})
        ids = [pipe.tokenizer(pipe.maybe_convert_prompt(prompt, pipe.tokenizer), padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids for prompt in PROMPTS]
        cases[name] = [{"prompt": prompt, "ids": row[0].tolist(), "states": stored(pipe.text_encoder(row).last_hidden_state, 256)} for prompt, row in zip(PROMPTS, ids)]
    return {"embeddings": EMBEDDINGS, "cases": cases}
