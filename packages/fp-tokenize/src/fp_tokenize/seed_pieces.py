r"""
Seed pieces: which substrings does the training of Unigram begin with?

BPE and WordPiece build their vocabularies up, one merge at a time. Unigram carves its vocabulary out: it begins with
far more pieces than wanted and takes the useless ones away (`fp_tokenize.unigram_training`). It cannot begin with
*every* substring of the words. This section counts them all, keeps those that occur at least twice and stand for
themselves, and of these the ones that cover most of the text.

You need: `fp_tokenize.words`; how `fp_markov.counting` counts n-grams.

## What may be a piece

A piece stays within a word. Within it, a piece such as `end,`, half letters and half punctuation, would be learned for
every word that often ends a clause, so a piece stays within one script too: Latin, Cyrillic, Han…, where digits and
signs together count as one. A `▁`, which stands for a space, can only be its first character. So each word is cut
into **runs**, and pieces are substrings of runs. Combining marks belong to what they stand on; Han, Hiragana and
Katakana, which Japanese mixes within a word, count as one.

>>> runs("▁Straße,12a", dict(zip("▁Straße,12a", scripts("▁Straße,12a"))))
['▁Straße', ',12', 'a']

## Counting substrings

Let $c(s)$ be the number of places in the text, over all runs of all words, at which the substring $s$ begins. Count by
length. With the **rank** of a substring among those of its length, the substring $xa$, which is $x$ and one more
character $a$ of an alphabet of $A$, has the key

$$\text{key}(xa) = \text{rank}(x) \cdot A + a, \qquad \text{(E1)}$$

so that one sort finds all substrings of a length, with ranks for the next. Only places whose substring occurs at least
twice, and that leave room in the run, go on to the next length. At length one all places take part.

**Claim** `tokenize.substring-counts`. For each length $n$ this finds every substring of $n$ characters that occurs at
least twice, with its exact count $c$.

**Proof.** By induction on $n$: at the beginning of step $n$ there are exactly the places at which $n$ characters of
their run are left and whose first $n - 1$ characters occur at least twice, each with the rank of these. For $n = 1$
these are all places. Two places then get the same key (E1) if and only if their $n$ characters are the
same: from the key, division by $A$ with remainder returns $\text{rank}(x)$ and $a$, as $0 \le a < A$. So the places of
one key, each counted as often as its run occurs, are all the occurrences of a substring $xa$ at places that are still
there. That is all its occurrences if it occurs twice: at every place where $xa$ begins, $x$ begins, so
$c(x) \ge c(xa) \ge 2$ and the place is there. The places that go on are those that step $n + 1$ needs. $\blacksquare$

The runs that occur often are looked at once, with their count as a weight, so the time depends on the number of
*different* words.

## Substrings that stand for themselves

If `▁pumpki` occurs as often as `▁pumpkin`, the shorter one need not be a candidate beside the longer. Call $s$
**open** if its occurrences are not all followed by the same character, where the end of a run counts as a follower that
is different each time.

**Claim** `tokenize.open-substrings`. Let $c(s) \ge 2$. Add to $s$ the character that follows all its occurrences, and
repeat, until the result $s^*$ is open. Then $c(s^*) = c(s)$, and $s^*$ is the longest string that begins with $s$ and
has that count. If the different runs have $T$ characters in all, fewer than $2T$ open substrings occur at least twice.

**Proof.** If $s$ is not open, every occurrence of $s$ is one of $sa$, where $a$ is the one follower, so
$c(sa) = c(s)$. Runs are finite, so this ends, at an open $s^*$ with $c(s^*) = c(s)$. Let $t$ begin with $s$ and have
$c(t) = c(s)$. Then every occurrence of $s$ is one of $t$; all of them are one of $s^*$ too, so one of $t$ and $s^*$
begins with the other. If $t$ were longer than $s^*$, all occurrences of $s^*$ would be followed by the same character
of $t$, and $s^*$ would not be open.

For the number, arrange all substrings of the different runs as a tree in which $xa$ is a child of $x$. A substring
without a child ends a run everywhere, and so is what is left of a run from some place on: there are at most $T$ places
and at most $T$ such leaves. An open substring is either followed by two different characters, and has two children, or
it ends a run somewhere. A tree has fewer nodes with two or more children than leaves, since going down from the root,
each such node adds at least one path to the single one at the root, and each path ends in a leaf of its own. So there
are fewer than $T$ of the first kind, and at most $T$ of the second, one for each place. $\blacksquare$

What is left out is a bet, not a theorem: if `▁pumpki` is never followed by anything but `n`, a segmentation that uses
it needs one more piece for the `n`. All single characters stay, whatever follows them.

## The best of them

The score of a substring is the number of characters that its occurrences cover, $c(s) \cdot |s|$; the `seed_size` of
the highest score are kept. It is also the first guess of how often a piece will be used. It is crude: an occurrence of
`▁the` counts for `▁th` and `he` as well. EM sorts that out.

## In practice

SentencePiece finds the open substrings of the *text* in linear time, from its suffix array (all suffixes in order):
they are the branchings of the tree that the array describes. It sees a space as a character like others that follow,
and then refuses what contains one. So a word which is always followed by a space is not open for it, and no seed:

>>> counts = {"▁said": 3, "▁sand": 2, "▁KING": 4, "▁KIND": 1}
>>> [piece for piece, _ in seed_pieces(counts) if len(piece) > 3]
['▁KIN', '▁KING', 'KING', '▁said', 'said', '▁sand', 'sand']
>>> [piece for piece, _ in seed_pieces(counts, ends_apart=False) if len(piece) > 3]
['▁KIN']

and its vocabularies lack such words (`fp_tokenize.unigram_training` says what that costs). In both, a substring whose
$s^*$ is longer than a piece may be has no candidate. SentencePiece can also be told not to split at scripts, or to cut
digits apart.

References: T. Kudo and J. Richardson, "SentencePiece", 2018; M. Abouelhoda, S. Kurtz and E. Ohlebusch, "Replacing
suffix trees with enhanced suffix arrays", 2004.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

from fp_markov.counting import distinct
from fp_tokenize._scripts import scripts

__all__ = ["runs", "seed_reference", "seed_pieces"]  # the order of the page

SPACE = "\u2581"
"""What stands for a space in the words of `fp_tokenize.pretokenize.METASPACE`."""


def runs(word: str, script_of: Mapping[str, str]) -> list[str]:
    """
    The runs of a word: the stretches that a piece may not leave.

    Parameters
    ----------
    word
        Any string.
    script_of
        The script of each of its characters, "Inherited" for combining marks.

    Examples
    --------
    >>> of = {"▁": "Common", ",": "Common", "2": "Common", "a": "Latin", "b": "Latin", "я": "Cyrillic"}
    >>> runs("▁ab,22ba", of), runs("▁,▁▁aя", of)
    (['▁ab', ',22', 'ba'], ['▁,', '▁', '▁a', 'я'])
    """
    found: list[str] = []
    current = None  # the script of the run, once it has one
    for character in word:
        script = script_of[character]
        if not found or character == SPACE:
            found.append(character)
            current = None if character == SPACE or script == "Inherited" else script
        elif script == "Inherited" or current in (None, script):
            found[-1] += character
            current = current if script == "Inherited" else script
        else:
            found.append(character)
            current = script
    return found


def seed_reference(
    counts: Mapping[str, int],
    seed_size: int = 1_000_000,
    max_piece: int = 16,
    by_script: bool = True,
    ends_apart: bool = True,
) -> list[tuple[str, int]]:
    """What `seed_pieces` returns, by listing all substrings."""
    occurrences: Counter[str] = Counter()
    followers: defaultdict[str, set[str]] = defaultdict(set)
    for (run, after), n in _counted_runs(counts, by_script).items():
        for i in range(len(run)):
            for j in range(i + 1, min(i + max_piece, len(run)) + 1):
                occurrences[run[i:j]] += n
                followers[run[i:j]].add(run[j] if j < len(run) else "end" if ends_apart else after)
    characters = sorted((x, n) for x, n in occurrences.items() if len(x) == 1)
    longer = [
        (x, n * len(x))
        for x, n in occurrences.items()
        if len(x) > 1 and n > 1 and (len(followers[x]) > 1 or "end" in followers[x])
    ]
    return characters + sorted(longer, key=lambda item: (-item[1], len(item[0]), item[0]))[:seed_size]


def seed_pieces(
    counts: Mapping[str, int],
    seed_size: int = 1_000_000,
    max_piece: int = 16,
    by_script: bool = True,
    ends_apart: bool = True,
) -> list[tuple[str, int]]:
    """
    The characters of some words, and their most frequent substrings that stand for themselves.

    Parameters
    ----------
    counts
        How often each word occurs; none is empty.
    seed_size
        How many substrings of two or more characters to return at most.
    max_piece
        How many characters a substring may have.
    by_script
        Whether a change of script ends a run, as a space does.
    ends_apart
        Whether a substring that reaches the end of a run is followed there by something of its own. If not, it is
        followed by the next run's first character, and the last run of a word by a space, as SentencePiece has it.

    Returns
    -------
    list of tuple
        Piece and score, the number of characters that its occurrences cover: first the single characters in order of
        code point, then the others by falling score, of equal ones the shorter first, then by code points.

    Examples
    --------
    >>> seed_pieces({"▁abc": 2, "▁abd": 1, "▁bc": 1})[5:]
    [('▁ab', 9), ('▁abc', 8), ('ab', 6), ('bc', 6), ('abc', 6)]
    """
    strings: Counter[str] = Counter()
    for (run, after), n in _counted_runs(counts, by_script).items():
        strings[run if ends_apart else run + after] += n
    text = "".join(strings)
    alphabet, letters = np.unique(np.frombuffer(text.encode("utf-32-le"), "<u4"), return_inverse=True)
    letters = np.append(letters, 0).astype(np.int64)  # one more, so that every place has a follower
    lengths = np.fromiter(map(len, strings), np.int64, len(strings))
    weights = np.repeat(np.fromiter(strings.values(), np.float64, len(strings)), lengths)
    stops = np.repeat(np.cumsum(lengths), lengths) - (not ends_apart)
    at = np.flatnonzero(np.arange(len(stops)) < stops)
    ranks = np.zeros(len(at), np.int64)
    characters: list[tuple[str, int]] = []
    found = []  # for each length: lengths, a place, scores
    for n in range(1, max_piece + 1):
        keys, first, ranks, _ = distinct(ranks * len(alphabet) + letters[at + n - 1])  # (E1)
        occurrences = np.bincount(ranks, weights[at]).astype(np.int64)
        if n == 1:
            characters = [(chr(alphabet[k]), c) for k, c in zip(keys.tolist(), occurrences.tolist(), strict=True)]
        else:
            followers = letters[at + n]
            differs = followers != followers[first][ranks]
            if ends_apart:
                differs |= at + n == stops[at]
            open_ended = np.zeros(len(keys), bool)
            open_ended[ranks[differs]] = True
            wanted = np.flatnonzero(open_ended & (occurrences > 1))
            found.append((np.full(len(wanted), n), at[first[wanted]], n * occurrences[wanted]))
        goes_on = (occurrences[ranks] > 1) & (at + n < stops[at])
        at, ranks = at[goes_on], ranks[goes_on]
        if not len(at):
            break
    if not found:
        return characters
    sizes, places, scores = map(np.concatenate, zip(*found, strict=True))
    best = np.argsort(-scores, kind="stable")[:seed_size]
    chosen = zip(sizes[best].tolist(), places[best].tolist(), scores[best].tolist(), strict=True)
    return characters + [(text[p : p + n], score) for n, p, score in chosen]


def _counted_runs(counts: Mapping[str, int], by_script: bool) -> "Counter[tuple[str, str]]":
    """How often each run occurs before each character, or, at the end of a word, before a space."""
    characters = "".join({c for word in counts for c in word})
    script_of = dict(zip(characters, scripts(characters) if by_script else [""] * len(characters), strict=True))
    counted: Counter[tuple[str, str]] = Counter()
    for word, n in counts.items():
        parts = runs(word, script_of)
        for part, after in zip(parts, [*parts[1:], SPACE], strict=True):
            counted[part, after[0]] += n
    return counted
