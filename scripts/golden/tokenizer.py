"""Token ids by transformers' CLIPTokenizer: on a small vocabulary learned here, which goes into the golden file, and, where
its files are given as an argument (vocab.json and merges.txt in a folder), on CLIP's own.

    python3 scripts/golden/tokenizer.py ../shared/data/weights/clip-tokenizer
"""
import collections
import json
import pathlib
import sys
import tempfile

from common import GOLDEN, write
from transformers import CLIPTokenizer

TEXT = """a photo of a cat a photo of the small dog with an orange hat an oil painting of mountains at dawn in the style of
an old master highly detailed portrait of a person walking on the beach photograph of cars and houses it's we'll they've
the colour of the sea café naïve größe 東京 москва 12 2024 don't i'm he'd you're ... !! ??? -- (( )) "" colours photographs"""
MERGES = 160
WORDS = [
    "a photo of a cat",
    "A Photo Of A CAT",
    "",
    " ",
    "  leading,\ttabs\tand\n\nnew lines\r\n  ",
    "non-breaking\u00a0space, narrow\u202fspace, ideographic\u3000space, line\u2028separator",
    "next\u0085line, file\u001cseparator, unit\u001fseparator, vertical\vtab, form\ffeed",
    "zero\u200bwidth, word\u2060joiner, byte\ufefforder mark, !\ufeff!",
    "hello world 12345 it's we'll",
    "don't I'm he'd you're they've she'll cat's 'tis ''s'' IT'S",
    "caf\u00e9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m \u212bngstr\u00f6m \u1e9b\u0323",
    "Größe STRASSE straße İstanbul ΟΔΥΣΣΕΥΣ ὈΔΥΣΣΕΎΣ ΣΑΣ Σ Ǆ",
    "東京の写真、猫です。 한국어 사진 \u1100\u1161\u11a8",
    "русский текст Ёлка عربى اللغة עִבְרִית हिन्दी ไทย",
    "🐱 👩\u200d👩\u200d👧 🇩🇪 👍🏽 ☃\ufe0f 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "½ Ⅷ ² ³ ① ١٢٣ 3.14 1,000,000 0x1F 10⁵ 一二三",
    "&amp; &lt;b&gt; &#39; &quot;quoted&quot; <b>bold</b>",
    "nul\u0000byte bell\u0007 escape\u001b[31m delete\u007f soft\u00adhyphen",
    "cat</w> </w> dog</w>cat < / w >",
    "a <|endoftext|> b<|endoftext|>c",
    "a <|startoftext|> b",
    "a <|ENDOFTEXT|> b <|StartOfText|> c",
    "<|endoftext|>",
    "<|endoftext <|end|> |> <| endoftext |>",
    "hello! wow!!! !a!",
    "(cat:1.3), [dog], {bird|fish}; a_b-c/d\\e @me #tag $5 100% ^~`=+*",
    "snake_case camelCase PascalCase kebab-case",
    "“curly” ‘quotes’ — dash – en … ellipsis « » ™ ©",
    "\U0001d4d7\U0001d4ee\U0001d4f5\U0001d4f5\U0001d4f8 ｆｕｌｌｗｉｄｔｈ ﬁ ﬂ",
    "a\u0300\u0301\u0302 Z\u0351\u036b\u0343algo \u0301starts with a mark",
    "antidisestablishmentarianism " + "x" * 40,
    "word " * 75,
    "word " * 76,
    "the quick brown fox, " * 40 + "and the lost end",
    "東" * 90,
]


def bytes_to_unicode():
    """GPT-2's letters for bytes: printable ones stand for themselves, the others for U+0100 and up."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}


def learn(text, merges):
    """Byte pair encoding in CLIP's order: bytes, bytes that end a word, merges, then the two special tokens."""
    to_unicode = bytes_to_unicode()
    words = collections.Counter(tuple([to_unicode[b] for b in word.encode()][:-1] + [to_unicode[word.encode()[-1]] + "</w>"]) for word in text.split())
    learned = []
    while len(learned) < merges:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        learned.append(best)
        words = collections.Counter({joined(word, best): count for word, count in words.items()})
    letters = list(to_unicode.values())
    tokens = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in learned] + ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(tokens)}, [" ".join(pair) for pair in learned]


def joined(word, pair):
    out, i = [], 0
    while i < len(word):
        both = word[i : i + 2] == pair
        out.append("".join(pair) if both else word[i])
        i += 2 if both else 1
    return tuple(out)


def special(content):
    return {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def config(pad):
    """As Stable Diffusion 1.5 (pad `<|endoftext|>`) and 2.1 (pad `!`) have it."""
    return {
        "add_prefix_space": False,
        "bos_token": special("<|startoftext|>"),
        "do_lower_case": True,
        "eos_token": special("<|endoftext|>"),
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": pad,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": special("<|endoftext|>"),
    }


def folder_files(pad):
    settings = config(pad)
    names = {name: {k: v for k, v in value.items() if k != "__type"} if isinstance(value, dict) else value for name, value in settings.items() if name.endswith("_token")}
    return {"tokenizer_config.json": settings, "special_tokens_map.json": names}


def cases(folder, texts):
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    for text in texts:
        ids = tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
        whole = tokenizer(text).input_ids
        used = min(len(whole), 77)
        assert ids[used:] == [tokenizer.pad_token_id] * (77 - used)
        lost = whole[76:-1]  # as diffusers reports it
        yield {"text": text, "ids": ids[:used], **({"lost": tokenizer.decode(lost)} if lost else {})}


def fill(folder, vocab, merges, pad):
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    for name, content in folder_files(pad).items():
        (folder / name).write_text(json.dumps(content))


def golden(vocab, merges):
    for name, pad in (("sd1", "<|endoftext|>"), ("sd2", "!")):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            fill(folder, vocab, merges, pad)
            tokenizer = CLIPTokenizer.from_pretrained(folder)
            saved = folder / "saved"
            tokenizer.save_pretrained(saved)
            assert list(cases(folder, WORDS)) == list(cases(saved, WORDS))
            yield name, {"files": folder_files(pad), "padId": tokenizer.pad_token_id, "cases": list(cases(folder, WORDS))}, saved


def saved_files(vocab, merges):
    """What `save_pretrained` writes today: tokenizer.json instead of vocab.json and merges.txt."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        fill(folder, vocab, merges, "!")
        CLIPTokenizer.from_pretrained(folder).save_pretrained(folder / "saved")
        return {path.name: json.loads(path.read_text()) for path in sorted((folder / "saved").iterdir())}


vocab, merges = learn(TEXT, MERGES)
small = {name: case for name, case, _ in golden(vocab, merges)}
previous = json.loads((GOLDEN / "tokenizer.json").read_text()) if (GOLDEN / "tokenizer.json").exists() else {}
clip = previous.get("clip")
if len(sys.argv) > 1:
    source = pathlib.Path(sys.argv[1])
    lines = (source / "merges.txt").read_text().split("\n")
    clip = {name: case for name, case, _ in golden(json.loads((source / "vocab.json").read_text()), [line for line in lines if line and not line.startswith("#version")])}
write("tokenizer", {"vocab": vocab, "merges": merges, "small": small, "saved": saved_files(vocab, merges), "clip": clip})
