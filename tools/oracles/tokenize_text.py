"""
Freeze what Hugging Face's `tokenizers` makes of texts before it tokenizes: normalisers and pre-tokenizers.

    python -m tools.oracles.tokenize_text

writes normalize_huggingface.json and pretokenize_huggingface.json into packages/fp-tokenize/tests/fixtures: results
for a few texts, a digest of those for many, and the code points on which the tables of Unicode disagree.
"""

import hashlib
import importlib.util
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import regex

from fp_tokenize import normalize, pretokenize
from fp_tokenize.characters import byte_alphabet
from fp_tokenize.normalize import Normalizer
from fp_tokenize.pretokenize import Pretokenizer

TESTS = Path(__file__).parents[2] / "packages/fp-tokenize/tests"
NORMALIZE = TESTS / "fixtures/normalize_huggingface.json"
PRETOKENIZE = TESTS / "fixtures/pretokenize_huggingface.json"
SEED, COUNT = 7, 1_000

_spec = importlib.util.spec_from_file_location("random_texts", TESTS / "random_texts.py")
random_texts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(random_texts)

EVERY = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
CASES = (
    "",
    " ",
    "Hello, world! It's 1999; they'LL pay $3,141.59.",
    "  two  spaces,\ta tab\r\nand\n\n  newlines \n",
    "camelCase HTTPServer naïve cafe\u0301s /usr/bin\n",
    "Ünknown: ÿ \x00\x1c\x85\xa0\ufffd\ufeff\u200b",
    "言語 и язык, λόγος ΟΔΟΣ, भाषा, 한국어 \u1100\u1161\u11a8",
    "😀👩\u200d👧 🇩🇪 ﬁ ½ ² Ⅷ ㌀ İ ß ſ",
    "a_b▁c-d ... «e»",
)


def unsettled() -> set[int]:
    """Code points of which this Python and this `regex` give different categories: one of them is too old to know."""
    categories = {unicodedata.category(c) for c in EVERY}
    agreed = {
        c for name in categories for c in regex.findall(rf"\p{{{name}}}", EVERY) if unicodedata.category(c) == name
    }
    return {ord(c) for c in set(EVERY) - agreed}


def differing(ours: Callable[[str], object], theirs: Callable[[str], object]) -> set[int]:
    """Code points that make a difference between two letters."""
    found = set()
    for start in range(0, len(EVERY), 1024):
        several = [f"a{c}b" for c in EVERY[start : start + 1024]]
        if ours("".join(several)) != theirs("".join(several)):
            found.update(ord(one[1]) for one in several if ours(one) != theirs(one))
    return found


def normalizers() -> dict[str, tuple[Normalizer, object]]:
    """Ours and theirs, by a name."""
    from tokenizers import Regex
    from tokenizers import normalizers as hf

    made = {
        **{form: (normalize.Unicode(form), getattr(hf, form)()) for form in ("NFC", "NFD", "NFKC", "NFKD")},
        "Lowercase": (normalize.Lowercase(), hf.Lowercase()),
        "StripAccents": (normalize.StripAccents(), hf.StripAccents()),
        "Nmt": (normalize.Nmt(), hf.Nmt()),
        "Prepend": (normalize.Prepend("▁x"), hf.Prepend("▁x")),
        "Replace": (normalize.Replace(" ", "▁"), hf.Replace(" ", "▁")),
        "Replace empty": (normalize.Replace("", "-"), hf.Replace("", "-")),
        "Replace spaces": (normalize.Replace(" {2,}", " ", True), hf.Replace(Regex(" {2,}"), " ")),
        "Replace maybe": (normalize.Replace("l*", r"\1", True), hf.Replace(Regex("l*"), r"\1")),
        "Replace away": (normalize.Replace("[a-z]", "", True), hf.Replace(Regex("[a-z]"), "")),
        "Replace at lines": (normalize.Replace("^|$", "|", True), hf.Replace(Regex("^|$"), "|")),
    }
    for left in (False, True):
        for right in (False, True):
            made[f"Strip {left} {right}"] = normalize.Strip(left, right), hf.Strip(left, right)
    for clean in (False, True):
        for chinese in (False, True):
            for accents in (None, False, True):
                for lower in (False, True):
                    options = clean, chinese, accents, lower
                    made[f"Bert {options}"] = normalize.Bert(*options), hf.BertNormalizer(*options)
    pairs = {name: (Normalizer([ours]), theirs) for name, (ours, theirs) in made.items()}
    steps = ["NFKD", "StripAccents", "Lowercase", "NFC", "Replace", "Prepend"]
    theirs = hf.Sequence([made[name][1] for name in steps])
    pairs["sequence"] = Normalizer([made[name][0] for name in steps]), theirs
    return pairs


def pretokenizers() -> dict[str, tuple[Pretokenizer, object]]:
    """Ours and theirs, by a name."""
    from tokenizers import Regex
    from tokenizers import pre_tokenizers as hf

    schemes = "always", "first", "never"
    made = {
        "Whitespace": ([pretokenize.Whitespace()], [hf.Whitespace()]),
        "WhitespaceSplit": ([pretokenize.WhitespaceSplit()], [hf.WhitespaceSplit()]),
        "Bert": ([pretokenize.Bert()], [hf.BertPreTokenizer()]),
        "SmolLM": (pretokenize.SMOLLM.steps, [hf.Digits(True), hf.ByteLevel(add_prefix_space=False)]),
    }
    for prefix in (False, True):
        for cut in (False, True):
            made[f"ByteLevel {prefix} {cut}"] = (
                [pretokenize.ByteLevel(prefix, cut)],
                [hf.ByteLevel(add_prefix_space=prefix, use_regex=cut)],
            )
    for single in (False, True):
        made[f"Digits {single}"] = [pretokenize.Digits(single)], [hf.Digits(single)]
    for scheme in schemes:
        for cut in (False, True):
            made[f"Metaspace {scheme} {cut}"] = (
                [pretokenize.Metaspace("▁", scheme, cut)],
                [hf.Metaspace("▁", scheme, cut)],
            )
        ours, theirs = pretokenize.Metaspace("▁", scheme), hf.Metaspace("▁", scheme)
        made[f"WhitespaceSplit, Metaspace {scheme}"] = (
            [pretokenize.WhitespaceSplit(), ours],
            [hf.WhitespaceSplit(), theirs],
        )
        made[f"Metaspace {scheme}, Punctuation, Digits"] = (
            [ours, pretokenize.Punctuation(), pretokenize.Digits()],
            [theirs, hf.Punctuation(), hf.Digits()],
        )
    for behavior in pretokenize.BEHAVIORS:
        made[f"Punctuation {behavior}"] = [pretokenize.Punctuation(behavior)], [hf.Punctuation(behavior)]
        for invert in (False, True):
            for pattern in PATTERNS:
                name = f"Split {pattern!r} {behavior} {invert}"
                theirs = hf.Split(Regex(pattern), behavior, invert)
                made[name] = [pretokenize.Split(pattern, True, behavior, invert)], [theirs]
            for string in (" ", "l", "."):
                name = f"Split string {string!r} {behavior} {invert}"
                theirs = hf.Split(string, behavior, invert)
                made[name] = [pretokenize.Split(string, False, behavior, invert)], [theirs]
    return {name: (Pretokenizer(ours), hf.Sequence(list(theirs))) for name, (ours, theirs) in made.items()}


PATTERNS = (
    pretokenize.GPT2_PATTERN,
    pretokenize.CL100K_PATTERN,
    pretokenize.O200K_PATTERN,
    r"\s*",
    "(?:l|e)?",
    "(l)(e)?",
    "^|$",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",
)


TABLES = (
    *("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Bert (True, True, None, False)"),
    *(
        "Bert (False, False, True, False)",
        "Digits False",
        "Punctuation isolated",
        "Bert",
        "Whitespace",
        "ByteLevel False True",
    ),
    *(f"Split {pattern!r} isolated False" for pattern in PATTERNS[1:3]),
)

SHOWN = (*TABLES, "Nmt", "Replace maybe", "sequence", "SmolLM", "Metaspace first True", "Split '^|$' removed False")


def words_of(theirs) -> Callable[[str], list[tuple[str, int, int]]]:
    """Their words and spans, with the names of bytes read back."""
    named = "ByteLevel" in str(theirs)
    byte_of = {name: byte for byte, name in enumerate(byte_alphabet())}

    def pieces(text: str) -> list[tuple[str, int, int]]:
        found = theirs.pre_tokenize_str(text)
        return [(bytes(byte_of[c] for c in w).decode() if named else w, i, j) for w, (i, j) in found]

    return pieces


def digest(results: list) -> str:
    return hashlib.sha256(json.dumps(results, ensure_ascii=True).encode()).hexdigest()


def spelled(step: object) -> str:
    """How to make a normaliser or pre-tokenizer of ours again."""
    return repr(list(step.steps))


def record(
    pairs: dict, results: Callable[[object], Callable[[str], object]], own: Callable[[object], Callable]
) -> dict:
    young = unsettled()
    # one for each table of characters that a step asks
    differ = {name: differing(own(pairs[name][0]), results(pairs[name][1])) for name in TABLES if name in pairs}
    avoid = random_texts.ranges(young.union(*differ.values()))
    texts = random_texts.texts(SEED, COUNT, avoid)
    steps = {}
    for name, (ours, theirs) in pairs.items():
        result = results(theirs)
        steps[name] = {"steps": spelled(ours), "digest": digest([result(text) for text in [*CASES, *texts]])}
        if name in SHOWN:
            steps[name]["cases"] = [result(text) for text in CASES]
    written = {
        name: " ".join(hexadecimal(*pair) for pair in random_texts.ranges(codes)) for name, codes in differ.items()
    }
    return {
        "seed": SEED,
        "count": COUNT,
        "avoid": avoid,
        "unicode": {"python": unicodedata.unidata_version, "regex": regex.__version__},
        "differ": written,
        "texts": list(CASES),
        "steps": steps,
    }


def hexadecimal(first: int, last: int) -> str:
    return f"{first:X}-{last:X}" if first < last else f"{first:X}"


def normalize_record() -> dict:
    return record(normalizers(), lambda theirs: theirs.normalize_str, lambda ours: ours)


def pretokenize_record() -> dict:
    return record(pretokenizers(), words_of, lambda ours: ours.pieces)


if __name__ == "__main__":
    for path, frozen in ((NORMALIZE, normalize_record()), (PRETOKENIZE, pretokenize_record())):
        path.write_text(json.dumps(frozen, ensure_ascii=True) + "\n", encoding="utf-8")
        print(f"wrote {path}")
