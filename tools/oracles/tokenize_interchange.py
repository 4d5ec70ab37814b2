"""
Tokenizers of the shapes that are met in practice, built with the libraries themselves, and what these make of texts.

    python -m tools.oracles.tokenize_interchange

writes packages/fp-tokenize/tests/fixtures/interchange.json: small files in each format with the libraries' ids, which
the default tests read. tools/oracles/test_tokenize.py makes the same shapes larger and compares live.
"""

import base64
import json
import random
import tempfile
from pathlib import Path

import regex

FIXTURE = Path(__file__).parents[2] / "packages/fp-tokenize/tests/fixtures/interchange.json"

# a few sentences in many scripts, to train on and to cut
SENTENCES = (
    "The cat sat on the mat, and the cat's kitten didn't care about the mat at all.",
    "There are 1234567 ways to count, 42 of which were tried in 2024; they're all wrong!",
    "def encode(text):\n    for word in text.split():\n        yield from cut(word)  # one word\n\n",
    "Der Fluss fließt über große Steine, und die Brücke darüber ist höher als das Haus.",
    "L'été, où les élèves n'ont plus de leçons, commence déjà à Noël pour les naïfs.",
    "Está lloviendo en la montaña, ¿quién traerá el paraguas? ¡Nadie, mañana será tarde!",
    "Зимой река замерзает, и дети катаются на коньках до самого вечера, пока не стемнеет.",
    "Ο ήλιος βγήκε από τα σύννεφα και ο δρόμος γέμισε παιδιά που τρέχουν προς τη θάλασσα.",
    "القطة جلست على السجادة، والأطفال يلعبون في الحديقة حتى المساء.",
    "חתול ישב על השטיח, והילדים שיחקו בגינה עד הערב.",
    "बिल्ली चटाई पर बैठी है और बच्चे शाम तक बगीचे में खेलते हैं।",
    "猫坐在垫子上，孩子们在花园里玩到晚上。价格是１２３元（约４５％）。",
    "猫はマットの上に座り、子供たちは夕方まで庭で遊んでいます。「ｶﾀｶﾅ」もあります。",
    "고양이가 매트 위에 앉아 있고 아이들은 저녁까지 정원에서 놀고 있습니다.",
    "แมวนั่งอยู่บนเสื่อ และเด็กๆ เล่นอยู่ในสวนจนถึงเย็น",
    "Con mèo ngồi trên tấm thảm, bọn trẻ chơi trong vườn đến tối.",
    "Emoji: 😀 👩\u200d👧 🇫🇷 ❤️ and symbols: → ≠ ½ ² ℵ ﬁ Å №",
)
TEXTS = (
    "",
    " ",
    "\n",
    "hello",
    "Hello, world! It's 3.14 o'clock, isn't it? WE'LL see; we'\u017f.",
    "  two  spaces,\ta tab\r\nand\n\n\nnewlines   \n  ",
    "x" * 120,
    " " * 50 + "x" + "\t" * 9,
    "\u00e9 and e\u0301, \u1e69 and s\u0323\u0307, \ufb01, \u212b, \u00bd, \uff21",
    "\x00\x01\x7f\x85\xa0\u200b\u200d\u2028\u3000\ufeff\ufffd\ufffe",
    "\U0010ffff\ue000\U000e0001\u0378",
    "<s> <unk>text</s> [CLS] [MASK] <|endoftext|> <0x41> \u2581\u2581a\u2581",
    "ÀÉÎÕÜ STRASSE straße ΣΊΣΥΦΟΣ İstanbul DŽ ǅ",
    "tokenization untokenizable antidisestablishmentarianism",
    *SENTENCES,
)
DECODED = 8  # how many of them are decoded again


def corpus(folder: Path | None = None, size: int = 200_000) -> list[str]:
    """Lines to train on: the sentences, and some of each file of a folder."""
    lines = list(SENTENCES) * 20
    for path in sorted(folder.glob("*.txt")) if folder else ():
        lines += path.read_bytes()[:size].decode(errors="ignore").splitlines(keepends=True)
    return lines


# ---- Hugging Face


def build(name: str, lines: list[str], size: int, rules: str | None = None):
    """A tokenizer of one of the shapes in `SHAPES`, trained on some lines; `rules` as for `sentencepiece_model`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors, trainers
    from tokenizers import pre_tokenizers as pre

    from fp_tokenize import pretokenize as ours

    alphabet = pre.ByteLevel.alphabet()
    bos_eos = ["<s>", "</s>"]

    def bpe(special=(), **kw):
        return trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False, **kw)

    def around(before, after, tokenizer):
        names = [*before, *after]
        return processors.TemplateProcessing(
            single=" ".join([*before, "$A", *after]),
            pair=" ".join([*before, "$A", *after, "$B:1", *(f"{n}:1" for n in after)]),
            special_tokens=[(n, tokenizer.token_to_id(n)) for n in names],
        )

    t = Tokenizer(models.BPE())
    if name == "gpt2":
        t.pre_tokenizer, t.decoder = pre.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        t.train_from_iterator(lines, bpe(["<|endoftext|>"], initial_alphabet=alphabet))
        t.post_processor = processors.ByteLevel(trim_offsets=False)
    elif name == "roberta":
        t.pre_tokenizer, t.decoder = pre.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
        t.train_from_iterator(lines, bpe(["<s>", "<pad>", "</s>", "<unk>"], initial_alphabet=alphabet))
        t.add_special_tokens([AddedToken("<mask>", lstrip=True)])
        t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    elif name == "llama3":
        t = Tokenizer(models.BPE(ignore_merges=True))
        split = pre.Split(Regex(ours.CL100K_PATTERN), "isolated")
        t.pre_tokenizer = pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=False)])
        t.decoder = decoders.ByteLevel()
        t.train_from_iterator(lines, bpe(initial_alphabet=alphabet))
        t.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
        t.post_processor = processors.Sequence(
            [processors.ByteLevel(trim_offsets=False), around(["<|begin_of_text|>"], [], t)]
        )
    elif name == "o200k":
        split = pre.Split(Regex(ours.O200K_PATTERN), "removed", invert=True)
        t.pre_tokenizer = pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=False)])
        t.decoder = decoders.ByteLevel()
        t.train_from_iterator(lines, bpe(initial_alphabet=alphabet))
        t.add_tokens([AddedToken("<think>", normalized=False), AddedToken("word", single_word=True)])
    elif name == "qwen":
        t.normalizer = normalizers.NFC()
        split = pre.Split(Regex(ours.CL100K_PATTERN.replace("{1,3}", "")), "isolated")
        t.pre_tokenizer = pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=False)])
        t.decoder = decoders.ByteLevel()
        t.train_from_iterator(lines, bpe(initial_alphabet=alphabet))
        t.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    elif name == "deepseek":
        splits = [
            pre.Split(Regex(r"\p{N}{1,3}"), "isolated"),
            pre.Split(Regex("[一-龥\u3040-ゟ゠-ヿ]+"), "isolated"),
            pre.Split(
                Regex(
                    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
                    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
                ),
                "isolated",
            ),
        ]
        t.pre_tokenizer = pre.Sequence([*splits, pre.ByteLevel(add_prefix_space=False, use_regex=False)])
        t.decoder = decoders.ByteLevel()
        t.train_from_iterator(lines, bpe(["<｜begin▁of▁sentence｜>"], initial_alphabet=alphabet))
    elif name == "clip":
        t = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
        t.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        split = pre.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True)
        t.pre_tokenizer = pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=True)])
        t.decoder = decoders.ByteLevel()
        t.train_from_iterator(
            lines, bpe(["<|startoftext|>", "<|endoftext|>"], initial_alphabet=alphabet, end_of_word_suffix="</w>")
        )
        t.post_processor = processors.BertProcessing(("<|endoftext|>", 1), ("<|startoftext|>", 0))
    elif name == "llama2":
        t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
        trainer = bpe(["<unk>", *bos_eos, *byte_tokens], limit_alphabet=80, max_token_length=16)
        t.train_from_iterator([line.replace(" ", " ▁").split(" ") for line in lines], trainer)
        # what the trainer took for special are bytes of the fallback
        data = json.loads(t.to_str())
        data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] not in byte_tokens]
        t = Tokenizer.from_str(json.dumps(data))
        t.post_processor = around(["<s>"], [], t)
    elif name == "words":
        t = Tokenizer(models.BPE(unk_token="[UNK]"))
        t.pre_tokenizer = pre.Whitespace()
        t.train_from_iterator(lines, bpe(["[UNK]", "[CLS]", "[SEP]"], limit_alphabet=60))
        t.post_processor = around(["[CLS]"], ["[SEP]"], t)
    elif name == "continuing":
        t = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##"))
        t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Strip()])
        t.pre_tokenizer = pre.Sequence([pre.WhitespaceSplit(), pre.Punctuation(), pre.Digits(individual_digits=False)])
        t.train_from_iterator(lines, bpe(["[UNK]"], continuing_subword_prefix="##", limit_alphabet=60))
    elif name in ("bert", "bert-cased"):
        t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
        t.normalizer = normalizers.BertNormalizer(
            lowercase=name == "bert", strip_accents=None if name == "bert" else False
        )
        t.pre_tokenizer, t.decoder = pre.BertPreTokenizer(), decoders.WordPiece()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        t.train_from_iterator(
            lines, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
        )
        t.post_processor = around(["[CLS]"], ["[SEP]"], t)
    elif name in ("t5", "albert", "xlm"):
        special = ["<pad>", "</s>", "<unk>"]
        t = Tokenizer(models.Unigram())
        charsmap = sentencepiece_charsmap(rules)
        steps = {
            "t5": [normalizers.Precompiled(charsmap)],
            "xlm": [normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), "▁")],
            "albert": [
                normalizers.Nmt(),
                normalizers.NFKC(),
                normalizers.Replace(Regex(" {2,}"), " "),
                normalizers.Lowercase(),
            ],
        }
        t.normalizer = normalizers.Sequence(steps[name])
        metaspace = pre.Metaspace(prepend_scheme="always")
        t.pre_tokenizer = pre.Sequence([pre.WhitespaceSplit(), metaspace]) if name == "t5" else metaspace
        t.decoder = decoders.Metaspace(prepend_scheme="always")
        t.train_from_iterator(
            lines,
            trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False),
        )
        t.add_special_tokens(["<extra_id_0>"])
        t.post_processor = around([], ["</s>"], t)
    elif name == "unigram-bytes":
        plain = json.loads(build("albert", lines, size).to_str())
        vocabulary = [*plain["model"]["vocab"], *([f"<0x{b:02X}>", 0.0] for b in range(256))]
        keep = [piece for piece in vocabulary if len(piece[0]) > 1 or piece[0].isascii() or piece[0] == "▁"]
        plain["model"] |= {"byte_fallback": True, "vocab": keep}
        plain["added_tokens"], plain["post_processor"] = plain["added_tokens"][:3], None
        plain["normalizer"] = None
        plain["pre_tokenizer"] |= {"prepend_scheme": "first"}
        plain["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, plain["decoder"]]}
        t = Tokenizer.from_str(json.dumps(plain))
    else:
        raise ValueError(name)
    return t


SHAPES = (
    *("gpt2", "roberta", "llama3", "o200k", "qwen", "deepseek", "clip", "llama2", "words", "continuing"),
    *("bert", "bert-cased", "t5", "albert", "xlm", "unigram-bytes"),
)


def old_spelling(layout: dict) -> dict:
    """The same file as older versions wrote it: merges as strings, absent keys."""
    model = {k: v for k, v in layout["model"].items() if v not in (None, False)}
    model["merges"] = [" ".join(pair) for pair in layout["model"]["merges"]]
    return {**layout, "model": model}


# ---- SentencePiece

MODELS = {
    "unigram": {},
    "unigram-identity": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "unigram-bytes": {"byte_fallback": True, "character_coverage": 0.98, "normalization_rule_name": "nmt_nfkc_cf"},
    "unigram-user": {"user_defined_symbols": ["<sep>", "é", "½", "▁the▁"], "control_symbols": ["<ctl>"]},
    "unigram-across": {"split_by_whitespace": False, "add_dummy_prefix": False},
    "bpe": {"model_type": "bpe"},
    "bpe-llama": {
        "model_type": "bpe",
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "byte_fallback": True,
        "character_coverage": 0.98,
        "split_digits": True,
        "allow_whitespace_only_pieces": True,
    },
    "bpe-user": {
        "model_type": "bpe",
        "user_defined_symbols": ["<sep>", "ing", "▁▁"],
        "remove_extra_whitespaces": False,
    },
    "bpe-across": {"model_type": "bpe", "split_by_whitespace": False, "add_dummy_prefix": False},
}
# a table of a few rules instead of the 240 kB of the built-in ones
RULES = "20 20\t20\na0\t20\n3000\t20\nff21\t41\n66 69\tfb01\nfb01\t66 69\n65 301\te9\nbd\t31 2f 32\n9\t20\nad\t\n"


def sentencepiece_model(name: str, lines: list[str], size: int, rules: str | None = None) -> bytes:
    """A model of one of the kinds in `MODELS`, trained on some lines; `rules` instead of the built-in ones."""
    import io

    import sentencepiece

    settings = {"vocab_size": size, "minloglevel": 2, "num_threads": 1, "max_sentence_length": 100_000} | MODELS[name]
    settings["hard_vocab_limit"] = False
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        if rules is not None and settings.get("normalization_rule_name") != "identity":
            (Path(folder) / "rules.tsv").write_text(rules)
            settings["normalization_rule_tsv"] = str(Path(folder) / "rules.tsv")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line.strip("\n") for line in lines if line.strip()), model_writer=model, **settings
        )
    return model.getvalue()


def sentencepiece_charsmap(rules: str | None = None) -> bytes:
    """The table of a trained model's normaliser."""
    from fp_tokenize._sentencepiece import read_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.model"
        path.write_bytes(sentencepiece_model("unigram", list(SENTENCES) * 20, 500, rules))
        return read_model(path).normalizer["precompiled_charsmap"]


# ---- tiktoken


def ranks_of(layout: dict) -> dict[bytes, int]:
    """Byte strings by id, of a byte-level tokenizer in Hugging Face's layout."""
    from fp_tokenize.characters import byte_alphabet

    byte_of = {name: i for i, name in enumerate(byte_alphabet())}
    special = {token["content"] for token in layout["added_tokens"]}
    vocabulary = layout["model"]["vocab"]
    return {bytes(map(byte_of.__getitem__, name)): i for name, i in vocabulary.items() if name not in special}


def tiktoken_lines(ranks: dict[bytes, int]) -> bytes:
    """The contents of a rank file."""
    return b"".join(
        base64.b64encode(token) + b" %d\n" % rank for token, rank in sorted(ranks.items(), key=lambda i: i[1])
    )


# ---- texts


def agreed(old: bool = False) -> list[str]:
    """
    Characters of all planes of which all tables of Unicode say the same: assigned in each, or in none.

    The libraries have tables of different versions: Oniguruma's, those of Rust's crates, Python's, those of `regex`.
    Characters that one of them knows and another does not are cut differently everywhere, and prove nothing. Those of
    normalisers are older than the others: `old` leaves only the characters of Unicode 3.2 and those of no version.
    """
    import unicodedata

    everything = "".join(chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000)
    categories = {unicodedata.category(c) for c in everything} - {"Cs"}
    newest = {c: name for name in categories for c in regex.findall(rf"\p{{{name}}}", everything)}
    tables = [unicodedata.category, *([unicodedata.ucd_3_2_0.category] if old else [])]
    return [c for c in everything if all(table(c) == newest[c] for table in tables)]


class RandomTexts:
    """Strings of up to 30 parts: of all planes, controls, combining marks, unassigned, newlines, runs of spaces."""

    def __init__(self, seed: int, words: list[str], old: bool = False) -> None:
        import unicodedata

        self.rng = random.Random(seed)
        characters = agreed(old)
        by = {"Cc": [], "Mn": [], "Zs": [], "Cn": [], "Co": []}
        for c in characters:
            by.get(unicodedata.category(c), []).append(c)
        planes = [
            [c for c in characters if lo <= ord(c) < hi]
            for lo, hi in ((0, 0x80), (0x80, 0x800), (0x800, 0x10000), (0x10000, 0x20000), (0x20000, 0x110000))
        ]
        self.kinds = [*planes, *by.values(), ["\n", "\r\n", "\r", "\u2028"], [" " * n for n in (1, 1, 2, 3, 9, 40)]]
        self.words = words

    def __call__(self) -> str:
        rng = self.rng
        mostly = rng.choice(self.kinds)  # long stretches of one kind, and mixtures
        parts = []
        for _ in range(rng.randrange(30)):
            roll = rng.random()
            parts.append(rng.choice(self.words if roll < 0.3 else mostly if roll < 0.6 else rng.choice(self.kinds)))
        return "".join(parts)


WORDS = [
    *" ".join(SENTENCES).split(" "),
    " the",
    "'s",
    "'S",
    "'\u017f",
    "<s>",
    "</s>",
    "[UNK]",
    "<unk>",
    "[MASK]",
    "<mask>",
    "<0x41>",
    "word",
]


def huggingface_record(name: str) -> dict:
    """A small tokenizer of one shape as its file, with its ids of `TEXTS`, and with those and the template's."""
    from tokenizers import Tokenizer

    byte_level = name in ("gpt2", "roberta", "llama3", "o200k", "qwen", "deepseek", "clip")
    theirs = build(name, list(SENTENCES) * 20, 330 if byte_level else 420, RULES)
    layout = json.loads(theirs.to_str())
    return {"layout": layout, **huggingface_ids(Tokenizer.from_str(json.dumps(layout)))}


def huggingface_ids(tokenizer) -> dict:
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    return {
        "ids": ids,
        "decoded": [tokenizer.decode(own, skip_special_tokens=False) for own in ids[:DECODED]],
        "template": tokenizer.encode("a").ids,
    }


def sentencepiece_record(name: str) -> dict:
    """A small model of one kind, in base64, with its ids of `TEXTS`."""
    import sentencepiece

    model = sentencepiece_model(name, list(SENTENCES) * 20, 600 if "byte_fallback" in MODELS[name] else 400, RULES)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    return {"model": base64.b64encode(model).decode(), **sentencepiece_ids(theirs)}


def sentencepiece_ids(processor) -> dict:
    ids = [processor.encode(text) for text in TEXTS]
    return {"ids": ids, "decoded": [processor.decode(own) for own in ids[:DECODED]]}


def tiktoken_encoding(ranks: dict[bytes, int], pattern: str, special: dict[str, int] | None = None):
    import tiktoken

    return tiktoken.Encoding("ours", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special or {})


def tiktoken_ids(ranks: dict[bytes, int]) -> dict:
    """Ids of `TEXTS` for each of tiktoken's patterns."""
    from fp_tokenize.pretokenize import CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN

    patterns = {"gpt2": GPT2_PATTERN, "cl100k": CL100K_PATTERN, "o200k": O200K_PATTERN}
    encodings = {name: tiktoken_encoding(ranks, pattern) for name, pattern in patterns.items()}
    return {name: [encoding.encode_ordinary(text) for text in TEXTS] for name, encoding in encodings.items()}


def frozen() -> dict:
    huggingface = {name: huggingface_record(name) for name in SHAPES}
    return {
        "texts": TEXTS,
        "huggingface": huggingface,
        "sentencepiece": {name: sentencepiece_record(name) for name in MODELS},
        "tiktoken": tiktoken_ids(ranks_of(huggingface["gpt2"]["layout"])),
    }


if __name__ == "__main__":
    FIXTURE.write_text(json.dumps(frozen(), ensure_ascii=True, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"wrote {FIXTURE}, {FIXTURE.stat().st_size:,} bytes")
