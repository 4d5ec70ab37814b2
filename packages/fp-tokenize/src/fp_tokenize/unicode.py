r"""
Unicode: what a character is, and in how many ways it can be written.

A tokenizer's input is a string, and two strings that look the same to a reader need not be the same. This section says
what a string consists of, when two strings count as one text, how a text is brought to one spelling, and which habits
from English fail elsewhere. `fp_tokenize.normalize` decides what to do about it.

You need: `fp_tokenize.characters` for UTF-8; sorting.

## Code points

A Python string is a sequence of **code points**, integers from 0 to 0x10FFFF, written U+ and four to six hexadecimal
digits. They come in 17 **planes** of 65,536: plane 0 holds nearly all living scripts, plane 1 emoji and dead scripts,
planes 2 and 3 rare Chinese characters, plane 14 some controls, planes 15 and 16 are private; the rest is empty. The
2,048 **surrogates** U+D800 to U+DFFF in plane 0 are no characters: UTF-16 writes a code point above U+FFFF as two of
them. Each version of the standard assigns code points that were free; none is ever taken back.

>>> import sys, unicodedata
>>> sys.maxunicode == 0x10FFFF == 17 * 65536 - 1
True
>>> [(f"U+{ord(c):04X}", unicodedata.category(c), unicodedata.name(c)) for c in "a1\u0301"]
... # doctest: +NORMALIZE_WHITESPACE
[('U+0061', 'Ll', 'LATIN SMALL LETTER A'), ('U+0031', 'Nd', 'DIGIT ONE'), ('U+0301', 'Mn', 'COMBINING ACUTE ACCENT')]

The **category** is one of 30, named by two letters. The first is the kind: L letter, M mark, N number, P punctuation,
S symbol, Z separator, C other. Patterns ask for it as `\p{L}` or `\p{Lu}`.

## How long is a text?

There are four answers. Files count **bytes**, of UTF-8 as `tokenize.bytes-round-trip` has it. JavaScript, Java and
Windows count **UTF-16 units**, one for a code point up to U+FFFF and two above. Python counts **code points**. Readers
count **grapheme clusters**: a character with all that attaches to it.

>>> for text in ("é", "e\u0301", "각", "👍🏽", "👩‍👩‍👧", "🇩🇪"):
...     print(lengths(text))
Lengths(graphemes=1, code_points=1, utf16=1, bytes=2)
Lengths(graphemes=1, code_points=2, utf16=2, bytes=3)
Lengths(graphemes=1, code_points=1, utf16=1, bytes=3)
Lengths(graphemes=1, code_points=2, utf16=4, bytes=8)
Lengths(graphemes=1, code_points=5, utf16=8, bytes=18)
Lengths(graphemes=1, code_points=2, utf16=4, bytes=8)

**Claim** `tokenize.text-lengths`. For every string without surrogates, let $g$, $n$, $u$, $b$ be its numbers of
grapheme clusters, code points, UTF-16 units and bytes. Then $g \le n \le u \le b$, $b \le 3u$ and $b \le 4n$; and
$b = n$ exactly if the string is ASCII.

**Proof.** Clusters cut the string into pieces of at least one code point each, so $g \le n$. The other numbers are sums
over code points, of the parts in the table (the bytes are those of `tokenize.bytes-round-trip`):

| code points | units | bytes |
| --- | --- | --- |
| U+0000 to U+007F | 1 | 1 |
| U+0080 to U+07FF | 1 | 2 |
| U+0800 to U+FFFF | 1 | 3 |
| U+10000 to U+10FFFF | 2 | 4 |

In every row $1 \le \text{units} \le \text{bytes} \le 3 \cdot \text{units}$ and $\text{bytes} \le 4$; adding up gives
the inequalities. Bytes exceed 1 in all rows but the first, so the sums $b$ and $n$ agree exactly if all code points lie
in the first row, which is ASCII. $\blacksquare$

No inequality bounds $n$ by $g$: any number of marks may sit on one letter.

>>> lengths("a" + 1000 * "\u0301")
Lengths(graphemes=1, code_points=1001, utf16=1001, bytes=2001)

So an index into one of the four is no index into another, and cutting a string at a code point can cut a character:

>>> "🇩🇪🇫🇷"[1:3], "e\u0301a"[::-1] == "a\u0301e"
('🇪🇫', True)

The first is a flag of neither country; the second moved the accent to the other letter. `graphemes` gives the pieces
that survive. Token boundaries respect none of this: a token of bytes may end inside a code point, and most vocabularies
cut families apart.

## Two spellings of one character

Unicode took over every character that older standards had, é among them, and also lets an accent follow any letter. So
é is one code point or two. The standard settles which strings mean the same by one table. It maps some characters to
others that they are made of, $\delta(c)$, in two strengths: a **canonical** mapping keeps the meaning (é to e and
U+0301), a **compatibility** mapping loses a distinction of form (ﬁ to f and i, ² to 2, ｆ to f).

Decompose every character as far as the table goes, by canonical mappings only ($D$) or by both kinds ($K$):

$$
D(s) = D(c_1) \cdots D(c_n) \text{ for } s = c_1 \cdots c_n, \qquad
D(c) = \begin{cases} D(\delta(c)) & c \text{ has a mapping,} \\ c & \text{otherwise.} \end{cases} \tag{E1}
$$

Marks on different sides of a letter do not touch, so their order means nothing: a dot below and a dot above. Each
character has a **combining class**, an integer, which is 0 for **starters** (letters and all else that stands on its
own) and different for marks at different places. In each longest run of non-starters,

$$O(s): \text{ sort by combining class, and keep the order within each class.} \tag{E2}$$

Then put together. Go through the string from the left and remember the latest starter $L$. At each character $c$: if
a starter, or a character whose class is not below that of $c$, stands between $L$ and $c$, then $c$ is **blocked**. If
it is not blocked and there is a character $P$ with $\delta(P) = Lc$ by a canonical mapping that is not excluded,

$$C(s): \text{ replace } L \text{ by } P \text{ and remove } c. \tag{E3}$$

The excluded ones are a list of the standard's, mostly characters whose composed spelling nobody uses. The syllables of
Korean follow the same scheme by arithmetic: 11,172 of them, $19 \cdot 21 \cdot 28$, are a leading consonant, a vowel
and one of 27 final consonants or none. The four **normal forms** are

$$
\text{NFD} = O \circ D, \qquad \text{NFKD} = O \circ K, \qquad \text{NFC} = C \circ \text{NFD}, \qquad
\text{NFKC} = C \circ \text{NFKD}. \tag{E4}
$$

>>> for form in FORMS:
...     print(form, ascii(normal_form("é ﬁ ²", form)))
NFC '\xe9 \ufb01 \xb2'
NFD 'e\u0301 \ufb01 \xb2'
NFKC '\xe9 fi 2'
NFKD 'e\u0301 fi 2'

Two strings are **canonically equivalent** if their NFD agree, **compatible** if their NFKD agree.

What follows uses three properties of the tables, which the tests check for every code point: (T1) where
$\delta(P) = Lc$ can be composed, $c$ has no mapping of either kind; (T2) a non-starter without a canonical mapping has
no other mapping either; (T3) the mappings do not go in circles, so that (E1) ends.

**Claim** `tokenize.normal-form-idempotent`. For each form $N$ of the four, $N(N(s)) = N(s)$. Composing loses nothing:
$\text{NFD}(\text{NFC}(s)) = \text{NFD}(s)$ and $\text{NFKD}(\text{NFKC}(s)) = \text{NFKD}(s)$.

**Proof.** *Decomposed forms.* $D(s)$ consists of characters without a mapping, and sorting adds none, so $D$ leaves
$O(D(s))$ as it is. Sorting what is sorted changes nothing. Hence
$\text{NFD}(\text{NFD}(s)) = O(D(O(D(s)))) = O(O(D(s))) = O(D(s))$. The same with $K$ for $D$.

*Composing loses nothing.* Let $t = \text{NFD}(s)$. The pass (E3) turns $t$ into $C(t)$ by steps
$$\alpha\, L\, \beta\, c\, \gamma \;\to\; \alpha\, P\, \beta\, \gamma, \qquad \delta(P) = Lc,$$
where $c$ is not blocked: $\beta$ is empty, or non-starters of classes below that of $c$. No step changes the NFD.
Indeed $D$ of the two sides is
$$D(\alpha)\, D(L)\, D(\beta)\, c\, D(\gamma) \quad \text{and} \quad D(\alpha)\, D(L)\, c\, D(\beta)\, D(\gamma),$$
because $D(P) = D(L) D(c)$ and $D(c) = c$ by (T1). The characters of $\beta$ are still those of $t$, which have no
mapping, so $D(\beta) = \beta$. If $\beta$ is empty the two are equal. If not, $c$ and all of $\beta$ lie in one run of
non-starters, and every member of $\beta$ has a class other than that of $c$. Moving $c$ over $\beta$ keeps the order
within each class, and that order is all that the result of sorting depends on: $O$ makes both sides equal. So the NFD
of $C(t)$ is that of $t$, which is $t$ itself. With $K$ for $D$ the argument is the same, since (T1) covers both kinds.

*Composed forms.* $\text{NFC}(\text{NFC}(s)) = C(\text{NFD}(C(t))) = C(t) = \text{NFC}(s)$, and the same with K.
$\blacksquare$

**Claim** `tokenize.equivalences`. $\text{NFC}(s) = \text{NFC}(t)$ if and only if $\text{NFD}(s) = \text{NFD}(t)$, and
then $\text{NFKD}(s) = \text{NFKD}(t)$; which holds if and only if $\text{NFKC}(s) = \text{NFKC}(t)$.

**Proof.** If the NFD agree, apply $C$ to both: the NFC agree. If the NFC agree, apply NFD to both: by
`tokenize.normal-form-idempotent` the NFD agree. The same with K. For the step from NFD to NFKD it is enough that
$\text{NFKD}(s) = \text{NFKD}(\text{NFD}(s))$ for every $s$. Applying $K$ to $D(s)$ uses the mappings that $D$ had not
used, so $K(D(s)) = K(s)$. By (T2) $K$ leaves the non-starters of $D(s)$ alone, so it makes no difference whether they
are sorted before it or only after: $O(K(O(D(s)))) = O(K(D(s))) = O(K(s))$. $\blacksquare$

The other direction fails: "²" and "2" have one NFKD and different NFD. So NFC is a choice of spelling; NFKC loses
information.

## Normalising piece by piece

The forms look at neighbours, so they do not commute with cutting and joining:

>>> left, right = "e", "\u0301"
>>> normal_form(left, "NFC") + normal_form(right, "NFC") == normal_form(left + right, "NFC")
False

A stream cannot be normalised chunk by chunk at any place; nor may two normalised texts be joined and taken for
normalised. But there are safe places.

**Claim** `tokenize.normal-form-boundary`. Let $N$ be one of the four forms and $h$ the first character of $c$'s
decomposition ($D(c)$, or $K(c)$ for the forms with K). If $h$ is a starter and not the second character of a pair that
composes, then $N(x\,c\,y) = N(x)\,N(c\,y)$ for all strings $x$, $y$. All of ASCII, the space above all, is such a $c$.

**Proof.** $D(x c y) = D(x)\, D(c y)$ by (E1), and the second part begins with $h$. No run of non-starters contains $h$,
so none reaches across, and $O(D(x)\, D(c y)) = O(D(x))\, O(D(c y))$. That is the claim for NFD. When the pass (E3)
comes to $h$, it has done to the first part what it does to that part alone. It does not remove $h$, which is the second
of no pair, and from then on $h$, or what it becomes, or a later starter, is the latest: the first part is not touched
again, and the second is treated as if it stood alone. That is the claim for NFC. The same with $K$. An ASCII character
has class 0 and no mapping, and no pair that composes has one as its second character. $\blacksquare$

`starts_anew` tests the hypothesis. So a long text may be cut before any space and its parts normalised one by one, on
several processors, or kept in a table.

**Claim** `tokenize.plain-text-is-normal`. ASCII texts are in all four forms, and texts of Latin-1 (up to U+00FF) in
NFC.

**Proof.** Each character of Latin-1 is its own NFC, and each of ASCII is its own in all four forms, as the tables say.
Each satisfies the hypothesis of `tokenize.normal-form-boundary`: its decomposition begins with a starter of ASCII or
with itself, and neither is second of a pair. So $N(c_1 \cdots c_n) = N(c_1) \cdots N(c_n) = c_1 \cdots c_n$.
$\blacksquare$

## Upper and lower case

Case is no property of single characters either, and changing it is no function that can be undone:

>>> "straße".upper(), "straße".upper().lower(), len("İ".lower()), "ΟΔΟΣ".lower(), "ΟΔΟΣ".lower().upper()
('STRASSE', 'strasse', 2, 'οδος', 'ΟΔΟΣ')

ß becomes two letters, İ (the capital of Turkish i) an i and a dot, and Σ is written ς at the end of a word and σ
elsewhere, so that what becomes of it depends on its neighbours.

## White space

**Claim** `tokenize.white-space`. 25 characters have Unicode's property White_Space, which is what `\s` means to `regex`
and to Rust's libraries: U+0009 to U+000D, U+0020, U+0085, U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F,
U+205F and U+3000. `str.isspace`, and `\s` in Python's own `re`, hold for these and for U+001C to U+001F, and no others.

**Proof.** By the tables: the test asks each of them about every code point. $\blacksquare$

Not among them are the zero-width space U+200B, the byte order mark U+FEFF and the Mongolian vowel separator U+180E,
which was one until Unicode 6.3. So `text.split()` and a tokenizer's white space differ on four control characters.

## In practice

`unicodedata.normalize` and `regex` do what the functions here spell out, in C and with the tables of their own versions
of Unicode: those of Python 3.11 are 14.0, and `regex` brings newer ones. The standard promises that a text's normal
forms never change once all its characters are assigned. Characters that one table knows and another does not are
therefore the only ones on which two correct libraries disagree. The rules for grapheme clusters do change: `\X` in
newer versions keeps together what older ones cut, in the scripts of India above all.

Left out: full case folding, collation, the order of right-to-left text, confusable characters.

Sources: The Unicode Standard, chapter 3; Unicode Standard Annexes 15 (normal forms), 29 (grapheme clusters) and 44 (the
tables).
"""

import unicodedata
from functools import lru_cache
from typing import NamedTuple

import regex

from fp_tokenize.frame import check_text

__all__ = [
    "FORMS",
    "Lengths",
    "lengths",
    "graphemes",
    "decompose",
    "order",
    "compose",
    "normal_form",
    "starts_anew",
]  # the order of the page

FORMS = ("NFC", "NFD", "NFKC", "NFKD")
"""The names of the normal forms."""


class Lengths(NamedTuple):
    """How long a text is (`tokenize.text-lengths`)."""

    graphemes: int
    """Grapheme clusters."""
    code_points: int
    """Code points."""
    utf16: int
    """Units of UTF-16, of two bytes each."""
    bytes: int
    """Bytes of UTF-8."""


def lengths(text: str) -> Lengths:
    """
    The four lengths of a text. `ValueError` for lone surrogates.

    Examples
    --------
    >>> lengths("naïve")
    Lengths(graphemes=5, code_points=5, utf16=5, bytes=6)
    """
    data = check_text(text)
    return Lengths(len(graphemes(text)), len(text), len(text.encode("utf-16-le")) // 2, len(data))


def graphemes(text: str) -> list[str]:
    """
    The grapheme clusters of a text: what a reader takes for its characters. `ValueError` for lone surrogates.

    Examples
    --------
    >>> graphemes("🇩🇪🇫🇷!")
    ['🇩🇪', '🇫🇷', '!']
    """
    check_text(text)
    return regex.findall(r"\X", text)


def decompose(text: str, compatible: bool = False) -> str:
    r"""
    Every character by what it is made of (E1).

    Parameters
    ----------
    text
        Any string.
    compatible
        Use compatibility mappings too: K, not D.

    Examples
    --------
    >>> ascii(decompose("Ǖ½")), ascii(decompose("Ǖ½", compatible=True))
    ("'U\\u0308\\u0304\\xbd'", "'U\\u0308\\u03041\\u20442'")
    """
    full = {character: _decomposition(character, compatible) for character in set(text)}
    return "".join(map(full.__getitem__, text))


@lru_cache(maxsize=1 << 12)
def _decomposition(character: str, compatible: bool) -> str:
    number = ord(character) - 0xAC00
    if 0 <= number < 11172:
        lead, vowel, tail = number // 588, number % 588 // 28, number % 28
        return chr(0x1100 + lead) + chr(0x1161 + vowel) + (chr(0x11A7 + tail) if tail else "")
    tag, *parts = ["", *unicodedata.decomposition(character).split()]
    if parts and parts[0].startswith("<"):
        tag, *parts = parts
    if not parts or (tag and not compatible):
        return character
    return decompose("".join(chr(int(part, 16)) for part in parts), compatible)


def order(text: str) -> str:
    r"""
    The same characters with each run of non-starters sorted (E2).

    Examples
    --------
    >>> ascii(order("a\u0301\u0323"))
    "'a\\u0323\\u0301'"
    """
    characters = list(text)
    start = 0
    for end in range(len(characters) + 1):
        if end == len(characters) or not unicodedata.combining(characters[end]):
            characters[start:end] = sorted(characters[start:end], key=unicodedata.combining)
            start = end + 1
    return "".join(characters)


def compose(text: str) -> str:
    r"""
    Pairs of characters put together (E3), in a text that is decomposed and sorted.

    Examples
    --------
    >>> compose("a\u0323\u0302"), compose("\u1112\u1161\u11ab")
    ('ậ', '한')
    """
    done: list[str] = []
    starter, last = -1, 0  # place of the latest starter in `done`; class of the latest character in `done`
    for character in text:
        kind = unicodedata.combining(character)
        if starter >= 0 and (last < kind or starter == len(done) - 1):
            pair = _composite(done[starter], character)
            if pair is not None:
                done[starter] = pair
                continue
        if kind == 0:
            starter = len(done)
        last = kind
        done.append(character)
    return "".join(done)


def _composite(first: str, second: str) -> str | None:
    lead, vowel = ord(first) - 0x1100, ord(second) - 0x1161
    if 0 <= lead < 19 and 0 <= vowel < 21:
        return chr(0xAC00 + (lead * 21 + vowel) * 28)
    syllable, tail = ord(first) - 0xAC00, ord(second) - 0x11A7
    if 0 <= syllable < 11172 and syllable % 28 == 0 and 0 < tail < 28:
        return chr(ord(first) + tail)
    return _pairs().get(first + second)


@lru_cache(maxsize=1)
def _pairs() -> dict[str, str]:
    """Two characters and the one that they compose to; those of Hangul are computed."""
    pairs = {}
    for number in range(0x110000):
        character = chr(number)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            pair = chr(int(parts[0], 16)) + chr(int(parts[1], 16))
            if unicodedata.normalize("NFC", character) == character:  # else Unicode excludes it from composition
                pairs[pair] = character
    return pairs


def normal_form(text: str, form: str) -> str:
    """
    A normal form by its definition (E4); `unicodedata.normalize` is the fast one.

    Parameters
    ----------
    text
        Any string without lone surrogates.
    form
        `"NFC"`, `"NFD"`, `"NFKC"` or `"NFKD"`.

    Raises
    ------
    ValueError
        If there is no such form, or a lone surrogate.

    Examples
    --------
    >>> normal_form("ﬁ", "NFKC")
    'fi'
    """
    if form not in FORMS:
        raise ValueError(f"a normal form is one of {', '.join(FORMS)}, got {form!r}")
    check_text(text)
    text = order(decompose(text, "K" in form))
    return compose(text) if form[-1] == "C" else text


def starts_anew(character: str, compatible: bool = True) -> bool:
    r"""
    Whether a text may be cut before this character and its parts normalised alone (`tokenize.normal-form-boundary`).

    Parameters
    ----------
    character
        One character.
    compatible
        For NFKC and NFKD; false: for NFC and NFD.

    Examples
    --------
    >>> [starts_anew(c) for c in " aé言\u0301"]
    [True, True, True, True, False]
    """
    if character < "\u0300":  # up to here all do, and most text lies here
        return True
    head = unicodedata.normalize("NFKD" if compatible else "NFD", character)[0]
    return not unicodedata.combining(head) and head not in _seconds()


@lru_cache(maxsize=1)
def _seconds() -> frozenset[str]:
    """Characters that compose with one before them; for Hangul, vowels and tails."""
    return frozenset({pair[1] for pair in _pairs()}.union(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)])))
