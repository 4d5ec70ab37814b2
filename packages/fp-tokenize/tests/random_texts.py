"""Random texts that try what tokenizers get wrong; the tests and `tools/oracles` load this file by its path."""

import random
from collections.abc import Iterable

# code points of one kind of text each, so that rare kinds turn up as often as frequent ones
POOLS = (
    (0, 0x20), (0x20, 0x7F), (0x7F, 0x300), (0x300, 0x370), (0x370, 0x590), (0x590, 0x900), (0x900, 0x1100),
    (0x1100, 0x2000), (0x2000, 0x3000), (0x3000, 0x4E00), (0x4E00, 0xAC00), (0xAC00, 0xD800), (0xE000, 0xF900),
    (0xF900, 0x10000), (0x10000, 0x1F000), (0x1F000, 0x20000), (0x20000, 0x40000), (0x40000, 0x110000),
)  # fmt: skip
SNIPPETS = (
    "Hello", "don't", "IT'S", "they'LL", "'ve", "'ſ", "naïve", "camelCase", "HTTPServer", "12", "3456789", "²Ⅷ", "3.14",
    " ", " ", " ", "  ", "     ", "\n", "\r\n", "\n\n", "\t", " \n", "\x0b\x0c", "\x1c", "\x85", "\xa0", "\u2028",
    "\u3000", "\u200b", "\u180e", "\ufeff", "\ufffd", "\0", "▁", "_", "-", "...", "!?", "$+<=>^`|~", "/\n", "…", "«»",
    "e\u0301", "\u0323\u0307", "Å", "ﬁ", "ΟΔΟΣ", "İ", "ß", "각", "\u1100\u1161\u11a8", "言語", "かな", "カ\uff9e",
    "हिन्दी", "עִבְרִית", "한국어", "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽",
)  # fmt: skip


def texts(seed: int, count: int, avoid: Iterable[tuple[int, int]] = ()) -> list[str]:
    """
    Texts of up to 30 parts, each a snippet or a character of a random pool.

    `avoid` are ranges [first, last] of code points that do not occur (except in the snippets, which are old).
    """
    avoided = {code for first, last in avoid for code in range(first, last + 1)}
    pools = [[chr(code) for code in range(*pool) if code not in avoided] for pool in POOLS]
    rng = random.Random(seed)
    return [
        "".join(
            rng.choice(SNIPPETS) if rng.random() < 0.7 else rng.choice(rng.choice(pools))
            for _ in range(rng.randrange(31))
        )
        for _ in range(count)
    ]


def ranges(codes: Iterable[int]) -> list[list[int]]:
    """Code points as ranges [first, last]."""
    found: list[list[int]] = []
    for code in sorted(codes):
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found
