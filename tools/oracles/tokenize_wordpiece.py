"""
Freeze what Hugging Face's WordPiece makes of texts: ids, offsets, and digests of the ids of many random texts.

    python -m tools.oracles.tokenize_wordpiece

writes packages/fp-tokenize/tests/fixtures/wordpiece.json, which the default tests read.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

from fp_tokenize.normalize import Normalizer
from fp_tokenize.pretokenize import BERT
from fp_tokenize.wordpiece_training import train_wordpiece
from fp_tokenize.words import count_words

FIXTURE = Path(__file__).parents[2] / "packages/fp-tokenize/tests/fixtures/wordpiece.json"

MAX_WORD = 30
SENTENCES = (
    "The unhappiest of the unhappy were unable to unwrap the wrapping; they hugged, huffed and were happily unaware!",
    "A token that begins a word is spelled as it stands (token, tokens), the others begin with ## (##ize, ##ization).",
    "Der naïve Fluss fließt über große Brücken. L'élève naïf était déjà là où l'été commence, çà et là.",
    "Зимой река замерзает, и дети катаются до вечера. Ο ήλιος βγήκε και ο δρόμος γέμισε παιδιά.",
    "बच्चे शाम तक खेलते हैं। 猫坐在垫子上。猫はマットの上に座る。고양이가 앉아 있다.",
    "In 2024, 3.14 of 1,234,567 [UNK] were $5.00 or 50%: a_b <tag> \\n {x} ~ ^ `code` #hash ##hash",
)
TEXTS = (
    "",
    " ",
    "hello",
    "Unhappy unhappily unwrapped",
    "  two  spaces,\ta tab\r\nand a newline\n\n",
    "a" * 30 + " " + "a" * 31,
    "ÀÉÎÕÜ é e\u0301 \u1e69 s\u0323\u0307 \ufb01 straße İ",
    "\x00\x01\x7f\u200b\u2028\u3000\ufeffnul",
    "猫a猫 漢字かな交じり文",
    "# ## ### #a ##a a## a#b ####",
    *SENTENCES,
)
ALPHABET = "aaabdefghiilnnoopprtuuwyz    ABEÉéèïß.,!#-[]1905猫上жизнь\u0301\n\t日"
# letters, marks, digits, signs and controls of many scripts and planes, all older than the tables of either side
WIDE = (
    "\x00\x01\t\n\r\x7f\x85\xa0\xad¡§«»¿ÀÉßàéïø\u0301\u0308\u0327ĳŁŉſǅəʼ\u0345ΑΆάςЖёӣ\u0483Աևאבְּعَبّ١ܐ\u0711ނ\u07a6अकिं।९ক৳ਗੰஅஃకంก่๑ལ་ྐ"
    "ကႁᄀᆨᎠᐁᚁᠠ᠎ḋẞἀᾳ\u200b\u200d\u200e–—‘“…‰⁴₅€\u20d0™Ⅷ→∀⌘①█■☃✓⟨⠿⺀⼀、。〈〒\u3000あア\u3099㈱㐀㒨䶵一龥ꀀꙀ가힣\ue000\uf8ff豈ﬁﬀﭏﷺ︰！Ａｱ￥\ufeff\ufffc\ufffd"
    "\U00010000\U00010330\U0001d400\U0001d7ce\U0001f600\U0001f468\U00020000\U0002a6d6\U0002f800\U000e0001\U000f0000\U0010ffff"
    "aaabeilnoptu     "
)
PLANES = ((0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000))


def vocabulary() -> list[str]:
    """A small one, with tokens that overlap, and words with and without a cut."""
    names = train_wordpiece(count_words(SENTENCES, Normalizer.named("bert"), BERT), 420)
    return [*names, *(name for name in ("##", "###", "#a", "unhapp", "##ilyx", "##aaaa", "aaa") if name not in names)]


def random_texts(alphabet: str, seed: int, number: int) -> Iterator[str]:
    """Up to 60 characters each: of the alphabet, or of any plane if it is empty."""
    rng = random.Random(seed)
    for _ in range(number):
        length = rng.randrange(61)
        if alphabet:
            yield "".join(rng.choices(alphabet, k=length))
        else:
            yield "".join(chr(rng.randrange(*rng.choice(PLANES))) for _ in range(length))


def huggingface(names: list[str], bert: bool = True, max_word: int = MAX_WORD):
    """The library's tokenizer: BERT's, or words between white space as they stand."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    ids = {name: i for i, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=max_word))
    if bert:
        tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer() if bert else pre_tokenizers.WhitespaceSplit()
    return tokenizer


def record(names: list[str], text: str, bert: bool) -> dict:
    encoding = huggingface(names, bert).encode(text)
    return {"text": text, "bert": bert, "ids": encoding.ids, "offsets": encoding.offsets}


def digest(names: list[str], alphabet: str, bert: bool, seed: int, number: int = 2000) -> dict:
    theirs, found = huggingface(names, bert), hashlib.sha256()
    for text in random_texts(alphabet, seed, number):
        found.update(repr(theirs.encode(text).ids).encode())
    return {"alphabet": alphabet, "bert": bert, "seed": seed, "number": number, "sha256": found.hexdigest()}


def frozen() -> dict:
    names = vocabulary()
    return {
        "vocabulary": names,
        "max_word": MAX_WORD,
        "cases": [record(names, text, bert) for bert in (True, False) for text in TEXTS],
        "random": [
            digest(names, alphabet, bert, 7)
            for alphabet, bert in ((ALPHABET, True), (WIDE, True), (ALPHABET, False), ("", False))
        ],
    }


if __name__ == "__main__":
    FIXTURE.write_text(json.dumps(frozen(), ensure_ascii=True) + "\n", encoding="utf-8")
    print(f"wrote {FIXTURE}, {FIXTURE.stat().st_size} bytes")
