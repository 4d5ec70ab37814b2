r"""
How long is this text, and is it the same as that?

Level: concept. You need `fp_tokenize.unicode`, `fp_tokenize.normalize` and `fp_tokenize.streaming`.

Two strings look alike on the screen and are different. One string has three lengths, and each of them is right. A text
is cut in the middle, and what was one character shows as three boxes. Every tokenizer has to decide what it does here,
and most bugs in tokenizers are found here.

Predict, with pencil and paper, for "é" written as an "e" and an accent: how many characters, how many bytes? Does NFC
change it, and does it become equal to "é" as one code point? Is the ligature "ﬁ" equal to "fi" after NFC, after NFKC?
Is lower-casing enough to find that "STRASSE" and "straße" are one word? What does reversing do to the accent? An emoji
takes four bytes and is cut after two of them: how many replacement characters does the reader see if each half is
decoded by itself, and what should a program that shows text while it arrives do instead? A character is missing from
the vocabulary, and its bytes are written: which bytes?

You learn which operations on text keep what a reader sees, and which only seem to.
"""

import codecs
import unicodedata
from typing import Any

HINTS = (
    "A Python string is a list of code points. UTF-8 writes one in 1 to 4 bytes; UTF-16 writes it in one unit of two "
    "bytes, or in two units beyond U+FFFF. The module `unicodedata` knows normal forms and combining classes.",
    "NFC and NFD write the same text in two ways; the K forms also replace what only looks different by what it stands "
    "for. A mark whose combining class is not 0 belongs to the character before it.",
    "`codecs.getincrementaldecoder('utf8')()` makes a decoder that keeps the bytes of an unfinished character until "
    "the rest comes; `bytes.decode(errors='replace')` on each part does not.",
)


def unicode_traps(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    r"""
    Answer ten questions about a text.

    Parameters
    ----------
    text
        A text, without surrogates.
    other
        Another one, to compare with.
    cut
        A number of bytes, at most those of `text` in UTF-8.
    known
        Characters that a vocabulary has tokens for.

    Returns
    -------
    dict
        One answer for each name:

        - `"characters"`: code points of `text`.
        - `"bytes"`: its bytes in UTF-8.
        - `"utf16"`: its units of 16 bits in UTF-16, without a byte order mark. JavaScript calls this the length.
        - `"nfc"`: its code points after NFC.
        - `"equal"`: those of the forms NFC, NFD, NFKC, NFKD that make `text` and `other` the same, in this order.
        - `"caseless"`: whether both are the same without regard to case, by case folding and nothing else.
        - `"reversed"`: `text` from the end to the beginning, where marks with a combining class other than 0 stay, in
          their order, behind the character that they follow.
        - `"stream"`: its bytes arrive in two parts, cut after `cut` bytes. The list of the two texts that a program
          shows that never shows a character before it is complete, and none that was not sent.
        - `"replaced"`: how many U+FFFD there are altogether if each part is decoded by itself, and `"replace"` is what
          becomes of errors.
        - `"fallback"`: the tokens of `text`, as a list: a character of `known` is a token itself, every other one is
          written as the bytes of its UTF-8, each a token such as `<0xE2>`.

    Examples
    --------
    >>> answers = unicode_traps("e\u0301!", "\xe9!", 2, "e!")
    >>> answers["characters"], answers["bytes"], answers["nfc"], answers["equal"]
    (3, 4, 2, ['NFC', 'NFD', 'NFKC', 'NFKD'])
    >>> answers["fallback"], answers["stream"] == ["e", "\u0301!"]
    (['e', '<0xCC>', '<0x81>', '!'], True)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['bytes', 'caseless', 'characters', 'equal', 'fallback', 'nfc', 'replaced', 'reversed', 'stream', 'utf16']
    """
    data = text.encode()
    parts = data[:cut], data[cut:]
    clusters: list[str] = []
    for character in text:
        if clusters and unicodedata.combining(character):
            clusters[-1] += character
        else:
            clusters.append(character)
    decoder = codecs.getincrementaldecoder("utf8")()
    fallback: list[str] = []
    for character in text:
        fallback += [character] if character in known else [f"<0x{byte:02X}>" for byte in character.encode()]
    return {
        "characters": len(text),
        "bytes": len(data),
        "utf16": len(text.encode("utf-16-le")) // 2,
        "nfc": len(unicodedata.normalize("NFC", text)),
        "equal": [form for form in _FORMS if _same(text, other, form)],
        "caseless": text.casefold() == other.casefold(),
        "reversed": "".join(reversed(clusters)),
        "stream": [decoder.decode(parts[0]), decoder.decode(parts[1], final=True)],
        "replaced": sum(part.decode(errors="replace").count("\ufffd") for part in parts),
        "fallback": fallback,
    }


_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def _same(text: str, other: str, form: Any) -> bool:
    return unicodedata.normalize(form, text) == unicodedata.normalize(form, other)


_E = "e\N{COMBINING ACUTE ACCENT}"
_FI = "\N{LATIN SMALL LIGATURE FI}"
_GRIN = "\N{GRINNING FACE}"

PROBES = (
    (f"caf{_E}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", 5, "acef"),
    (f"{_FI}n \N{FULLWIDTH DIGIT ONE}", "fin 1", 1, "fin1 "),
    (f"ok {_GRIN}{_GRIN}", "OK", 5, "ok "),
    ("Stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE", 5, "Strae"),
    (f"{_GRIN}!", _GRIN, 3, "!"),
    ("q\N{COMBINING DOT BELOW}\N{COMBINING DOT ABOVE}x", "q\N{COMBINING DOT ABOVE}\N{COMBINING DOT BELOW}x", 2, "qx"),
    ("\N{OHM SIGN}m", "\N{GREEK CAPITAL LETTER OMEGA}m", 3, "\N{GREEK CAPITAL LETTER OMEGA}m"),
    ("\N{CJK UNIFIED IDEOGRAPH-6F22}\N{CJK UNIFIED IDEOGRAPH-5B57}", "", 4, "\N{CJK UNIFIED IDEOGRAPH-5B57}"),
    ("\N{DEVANAGARI LETTER KA}\N{DEVANAGARI SIGN NUKTA}", "\N{DEVANAGARI LETTER QA}", 0, ""),
)

_WHY = {
    "characters": "Python counts code points; an accent that stands by itself is one.",
    "bytes": "UTF-8 takes 1 byte below U+0080, 2 below U+0800, 3 below U+10000 and 4 above.",
    "utf16": "UTF-16 takes one unit below U+10000 and two above.",
    "nfc": "NFC joins a letter and its marks where there is a code point for both; some such code points it takes "
    "apart.",
    "equal": "Bring both texts into the form, then compare. NFC and NFD always agree with each other, and so do NFKC "
    "and NFKD.",
    "caseless": "`casefold` goes further than `lower`: it turns a sharp s into ss. It does not normalise.",
    "reversed": "Collect each character with the marks behind it, then turn the order of these groups.",
    "stream": "Show what is complete and keep the rest until more comes. Both parts together are the text.",
    "replaced": "Decoding with replacement puts one U+FFFD for the beginning of a character that breaks off, and "
    "one for each byte that cannot begin any.",
    "fallback": "Each character by itself, as it stands: it is in the vocabulary, or its own bytes are.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for text, other, cut, known in PROBES:
        got = learner.unicode_traps(text, other, cut, known)
        assert isinstance(got, dict), f"expected a dict of ten answers, got {got!r:.80}"
        for key, expected in unicode_traps(text, other, cut, known).items():
            case = f"text = {text!a}" + {
                "equal": f" and other = {other!a}",
                "caseless": f" and other = {other!a}",
                "stream": f" and cut = {cut}",
                "replaced": f" and cut = {cut}",
                "fallback": f" and known = {known!a}",
            }.get(key, "")
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            answer = list(got[key]) if isinstance(expected, list) and isinstance(got[key], tuple) else got[key]
            assert type(answer) is type(expected) and answer == expected, (
                f"for {case}, {key!r} is {expected!a}; got {answer!a:.80}. {_WHY[key]}"
            )


def _bytes_are_characters(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    return {**unicode_traps(text, other, cut, known), "bytes": len(text)}


def _units_are_characters(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    return {**unicode_traps(text, other, cut, known), "utf16": len(text)}


def _byte_order_mark(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    return {**unicode_traps(text, other, cut, known), "utf16": len(text.encode("utf-16")) // 2}


def _nfc_never_longer(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    shorter = sum(not unicodedata.combining(character) for character in text)
    return {**unicode_traps(text, other, cut, known), "nfc": shorter}


def _looks_the_same(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    answers = unicode_traps(text, other, cut, known)
    return {**answers, "equal": list(_FORMS) if answers["equal"] else []}


def _one_side_only(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    equal = [form for form in _FORMS if unicodedata.normalize(form, text) == other]  # type: ignore[arg-type]
    return {**unicode_traps(text, other, cut, known), "equal": equal}


def _lower(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    return {**unicode_traps(text, other, cut, known), "caseless": text.lower() == other.lower()}


def _code_points_reversed(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    return {**unicode_traps(text, other, cut, known), "reversed": text[::-1]}


def _each_part_by_itself(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    data = text.encode()
    parts = [part.decode(errors="replace") for part in (data[:cut], data[cut:])]
    return {**unicode_traps(text, other, cut, known), "stream": parts}


def _broken_ones_left_out(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    data = text.encode()
    parts = [part.decode(errors="ignore") for part in (data[:cut], data[cut:])]
    return {**unicode_traps(text, other, cut, known), "stream": parts}


def _cut_in_characters(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    return {**unicode_traps(text, other, cut, known), "stream": [text[:cut], text[cut:]]}


def _one_for_each_part(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    answers = unicode_traps(text, other, cut, known)
    return {**answers, "replaced": min(answers["replaced"], 2)}


def _one_for_each_byte(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    answers = unicode_traps(text, other, cut, known)
    whole = sum(len(part.encode()) for part in _broken_ones_left_out(text, other, cut, known)["stream"])
    return {**answers, "replaced": len(text.encode()) - whole}


def _normalised_first(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    fallback: list[str] = []
    for character in text:
        plain = character if character in known else unicodedata.normalize("NFKC", character)
        fallback += unicode_traps(plain, other, 0, known)["fallback"]
    return {**unicode_traps(text, other, cut, known), "fallback": fallback}


def _code_point_as_hex(text: str, other: str, cut: int, known: str) -> dict[str, Any]:
    fallback = [character if character in known else f"<0x{ord(character):02X}>" for character in text]
    return {**unicode_traps(text, other, cut, known), "fallback": fallback}


MISTAKES = (
    (_bytes_are_characters, "You count a byte for each character. Only ASCII takes one byte in UTF-8."),
    (
        _units_are_characters,
        "You count one unit of UTF-16 for each character. Beyond U+FFFF, where emoji are, a character takes two.",
    ),
    (
        _byte_order_mark,
        "You count the byte order mark. Python's `utf-16` writes one; `utf-16-le` writes the text alone.",
    ),
    (
        _nfc_never_longer,
        "You let NFC join every letter with its marks. It does so only where such a code point exists, and for some "
        "scripts not even then.",
    ),
    (
        _looks_the_same,
        "You take all forms for one where any makes the texts equal. Ligatures and wide digits fall together with "
        "plain ones only in the K forms.",
    ),
    (
        _one_side_only,
        "You normalise one of the two texts. The other one may be written in yet another way: bring both into the "
        "form.",
    ),
    (_lower, "You compare in lower case. Case folding is made for comparing: it maps a sharp s to ss."),
    (
        _code_points_reversed,
        "You reverse code points. An accent then sits on the wrong letter: letter and marks move together.",
    ),
    (
        _each_part_by_itself,
        "You decode each part by itself. A character whose bytes arrive in two parts is lost, and replacement "
        "characters stand in its place: keep unfinished bytes until the rest comes.",
    ),
    (
        _broken_ones_left_out,
        "You leave out what is broken. A character whose bytes arrive in two parts is in neither of them; keep its "
        "beginning for later.",
    ),
    (_cut_in_characters, "You cut the text after so many characters. What arrives is cut after so many bytes."),
    (
        _one_for_each_part,
        "You count one replacement character for each broken end. Bytes that continue a character whose beginning is "
        "missing are replaced one by one.",
    ),
    (
        _one_for_each_byte,
        "You count one replacement character for each byte. The beginning of a character that breaks off is replaced "
        "as a whole.",
    ),
    (
        _normalised_first,
        "You normalise a character that is missing before you write its bytes. Fallback is there to lose nothing: the "
        "bytes are those of the character as it stands.",
    ),
    (
        _code_point_as_hex,
        "You write the number of the character. Fallback writes the bytes of its UTF-8, each below 256.",
    ),
)
