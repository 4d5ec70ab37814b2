r"""
Training BPE: merge the most frequent pair, and again, and again.

Byte-pair encoding (BPE) builds a vocabulary from below. It starts with bytes and adds, one at a time, the two tokens
that stand side by side most often, joined. This section defines the rule, derives from it what one merge changes, and
arrives at an algorithm whose work does not depend on how many merges are asked for.

You need: `fp_tokenize.words`, `fp_tokenize.merges`; and of a **heap** only what it does: it holds numbers, gives the
smallest of them and takes in others, each time in at most a constant times the logarithm of how many it holds.

## The rule

A word is a sequence of **symbols**: at first its bytes, or its characters. The corpus is a number $c(w)$ for each
different word $w$. The count of a pair of symbols is

$$N(a, b) = \sum_w c(w) \cdot \big| \{ i : w_i = a,\ w_{i+1} = b \} \big|. \qquad \text{(E1)}$$

One **step** of training:

1. Take the pair $(a, b)$ with the largest count; of several, the one with the smallest id $a$, then $b$.
2. Its **result** is a symbol $x$, whose name is the names of $a$ and $b$ joined, with the next free id.
3. In each word, from left to right, replace $a$ and $b$ side by side by $x$ (E2): the pass of `fp_tokenize.merges`.

Steps are made until the vocabulary has the size that was asked for, or no pair has a count of at least `min_count`. Ids
are given to the special tokens first, then to the bytes or characters in order of the code points of their names, then
to the results. `train_reference` does just this.

>>> counts = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
>>> train_reference(counts, 15, alphabet="characters").named_merges
[('e', 's'), ('es', 't'), ('l', 'o'), ('lo', 'w'), ('e', 'w')]

The fifth step found (n, e), (e, w) and (w, est) six times each; of n, e and w the smallest id is that of e.

Occurrences can overlap: "aaa" has the pair (a, a) twice, and it can be merged once.

**Claim** `tokenize.runs`. Let (E2) replace $(a, b)$ in a word. If $a \ne b$ it replaces every occurrence. If $a = b$,
it replaces $\lfloor m / 2 \rfloor$ of the $m - 1$ occurrences in each run of $m$ symbols $a$, and no choice of
occurrences that do not overlap has more. In both cases none is left.

**Proof.** Two occurrences overlap only if the second begins where the first one ends, which takes $b = a$. If
$a \ne b$, no occurrence has a symbol in common with another, so the scan, which passes over what is no occurrence one
symbol at a time, finds each at its first symbol. If $a = b$, every occurrence lies in a run of $m \geq 2$ symbols
between others. The scan comes to the run's first symbol and replaces the first and second, the third and fourth and so
on: $\lfloor m / 2 \rfloor$, and at most one $a$ is left. Occurrences that do not overlap take two symbols each, so
there are at most $m / 2$. Last, $x$ is neither $a$ nor $b$, as its name is longer. So $a$ and $b$ side by side after
the scan would have been so before it, untouched; but every $a$ that was left has another symbol than $b$ behind it.
$\blacksquare$

So (E1) overstates what a run of equal symbols gains. It is the usual definition all the same.

## The order of the words is nothing

**Claim** `tokenize.training-deterministic`. Names, ids and merges are a function of the counts $c$, of `vocab_size`,
`special_tokens`, `alphabet` and `min_count`. They depend neither on the order of words or texts, nor on the number of
processes that counted them, nor on where files were cut into pieces.

**Proof.** The first ids depend on the special tokens and on the set of characters of the words, sorted. Suppose that
the merges before a step are determined. The symbols of $w$ are then a function of $w$, as (E2) looks at one word at a
time. (E1) is a sum over the words, the same in any order. No two pairs have the same $a$ and $b$, so step 1 has one
answer. And $c$ itself is the same for any order, processes and pieces by `tokenize.counts-add` and
`tokenize.pieces-exact`. $\blacksquare$

The text itself is not needed: a merge never crosses from a word to the next.

## A name comes once

Can "abc" arise from "ab" and "c" in one place, and from "a" and "bc" in another? Then it would have two merges. It
cannot.

**Claim** `tokenize.names-once`. The first symbols are single characters with different names. No two steps of a
training have results of the same name, and none has the name of a first symbol.

**Proof.** Results have at least two characters, first symbols one. Suppose that step $k$ is the first whose result has
the name of an earlier one, and write a new symbol for it all the same. The merges up to step $k$ then satisfy (i) and
(ii) of `tokenize.merge-order`: operands are first symbols or earlier results, and each result is made in one step. Each
pair had a count of at least one, so it stood in what the merges before had made of some word. By
`tokenize.trained-merges` the strings of the results are different. Names are these strings: a contradiction.
$\blacksquare$

So each merge needs a new id, unless a special token happens to be spelled like its result. Then the two share the id,
as in Hugging Face's trainer; `count_words` with the same special tokens keeps their spellings out of the words. And so
training makes lists for which every reading of `fp_tokenize.merges` is the same.

## What a merge changes

To recount (E1) for every step costs a pass over all words. But a merge changes few places. Call the replacement of one
occurrence an **event**. With the neighbours $l$ and $r$ that $a\,b$ has at that moment,

$$l\, a\, b\, r \;\to\; l\, x\, r: \qquad
\text{gone } (l, a),\ (a, b),\ (b, r); \qquad \text{new } (l, x),\ (x, r), \qquad \text{(E3)}$$

without $l$ or $r$ at the ends of a word.

**Claim** `tokenize.count-invariant`. Keep a table $T$, at first $T = N$. For each event in a word $w$, in order,
subtract $c(w)$ from $T(l, a)$ and $T(b, r)$ and add it to $T(l, x)$ and $T(x, r)$; at the end of the step set $T(a, b)$
to zero. Then $T = N$ after every step.

**Proof.** The pairs of a word are its neighbouring symbols, and an event changes those in (E3) and no others. So, event
by event, $T$ would follow $N$ if $c(w)$ were also subtracted from $T(a, b)$ each time. That omission touches only
$T(a, b)$, and after the step $N(a, b) = 0$ by `tokenize.runs`, which is what $T(a, b)$ is set to. $\blacksquare$

In `abab` the second event finds $l = x$ and takes back the $(x, a)$ that the first one has added. The next claim says
how the occurrences of a pair are found without a search.

**Claim** `tokenize.born-once`. All occurrences of a pair that ever exist are there at the start, or are made in one
and the same step. After that its count never rises. The counts of the pairs chosen in steps 1, 2, 3, … never rise.

**Proof.** The result $x$ of a step stands in no word before it: by `tokenize.names-once` no earlier result has its
name, and the first symbols have shorter ones. By (E3) a new pair contains $x$, and $x$ is made in no other step. So
the occurrences of a pair that contains results are made in the step of the later one of them, and those of other pairs
are there at the start. Later steps only take occurrences away. Let $m$ be the count of the pair chosen in a step. No
pair had a larger one, and old pairs' counts do not rise. Every event adds one $x$ to a word, at most
$N(a, b) = m$ in all, each counted with its $c(w)$, and a pair $(l, x)$ or $(x, r)$ has at most one occurrence for each
$x$. So after the step no count exceeds $m$. $\blacksquare$

So a list of places, written when the pair is made, is complete for good. A symbol is kept at the place of its first
letter: a place in the list of $(a, b)$ is still an occurrence exactly if $a$ stands there and $b$ is the next symbol.

## The largest count

A heap of counts would have to be mended at each subtraction. Leave it as it is instead, and mend entries when they come
to the top. An entry is a number that a pair's count once was, and the pair.

**Claim** `tokenize.lazy-heap`. Put an entry with its count on the heap for each pair of the start, and for each new
pair at the end of its step. Let the heap give entries with the largest number first, and the smallest pair among
equals. Look at the first entry. If its number is the pair's count in $T$, this is the pair that step 1 takes. If not,
put the count in the place of the number, or drop the entry if the count is zero, and look again.

**Proof.** A pair with a positive count has one entry: it gets one when it is made (`tokenize.born-once`), and loses it
only when its count is zero or it is merged, after which its count is zero. The number $m_q$ of an entry is a count that
the pair $q$ once had, so $m_q \geq T(q)$. Let the first entry have $m_p = T(p)$. For every other pair
$T(q) \le m_q \le m_p = T(p)$. If $T(q) = T(p)$, then $m_q = m_p$, and the order of the heap says that $p$ is smaller
than $q$. So $p$ is the one. $\blacksquare$

## What it costs

Let the $D$ different words have $n$ symbols at first.

**Claim** `tokenize.training-cost`. However many steps are made, there are at most $n - D$ events, and at most
$3 (n - D)$ places are recorded and as many entries put on the heap; counts are lowered at most $2 (n - D)$ times, and
entries mended or dropped for it at most as often. So the work is at most proportional to $n \log n$. To recount in
each of $M$ steps is to look at between $D M$ and $n M$ symbols.

**Proof.** An event takes one symbol away, and each word keeps one: at most $n - D$ events. The start records
$n - D$ places, one for each two neighbours, and each event at most two more (E3): at most $3 (n - D)$, and no more
entries than places. Each event lowers two counts at most. An entry is mended or dropped only if its pair's count was
lowered since its number was written. Charge that to the last time that it was: the number is then the count, so no
entry is charged to the same time again. Each place is looked at once, when its pair is merged. So at most $3 (n - D)$
entries are put in and taken out once each, and at most $2 (n - D)$ mended, each at a price of at most a constant times
$\log 3n$, and the rest is a bounded number of operations for each place and event. A recount looks at all symbols, of
which there are never more than $n$ or fewer than $D$. $\blacksquare$

$n$ is the length of the *different* words, which by `tokenize.counting-memory` grows more slowly than the corpus; then
the time for a large corpus is the time to count its words.

>>> from pydoc_data.topics import topics
>>> from fp_tokenize.pretokenize import GPT2
>>> from fp_tokenize.words import count_words
>>> counts = count_words(topics.values(), pretokenizer=GPT2)
>>> n, D = sum(len(word.encode()) for word in counts), len(counts)
>>> trained = train_merges(counts, 2000)
>>> n * len(trained.merges) > 500 * (n - D)  # symbols that recounting may look at, and the most events
True

## Many places at once

The events of one step in different places do the same. Where a pair has many places (`MANY`), as the first merges do,
NumPy does all of them in one pass: look up neighbours, replace, sort the neighbours and add up what is equal. Pairs of
one symbol with itself are left to the loop from left to right, since there one event decides whether the next one is.
Most steps have a few places, where the loop is faster, and the last thousands have one.

## In practice

Hugging Face's trainer has the same rule, ties included, and the same queue; names, ids and merges are equal to its own,
merge for merge, which tests check on stored answers and, with the library at hand, live. SentencePiece's BPE trainer
breaks ties otherwise, by length and then by spelling. The first BPE for translation marked the end of words by a
symbol of its own; GPT-2's puts the space in front of the word and starts from bytes.

References: P. Gage, "A new algorithm for data compression", 1994; R. Sennrich, B. Haddow and A. Birch, "Neural machine
translation of rare words with subword units", 2016; V. Zouhar and others, "A formal perspective on byte-pair encoding",
2023, on the bound.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from itertools import pairwise

import numpy as np
from jaxtyping import Int, Integer

from fp_tokenize.characters import byte_alphabet
from fp_tokenize.frame import check_text
from fp_tokenize.merges import Merges, replay
from fp_tokenize.special import AddedToken

__all__ = ["Trained", "count_pairs", "train_reference", "train_merges"]  # the order of the page

MANY = 128
"""Places from which on NumPy's loops, which take long to start, are faster than Python's."""

PROGRESS = 256  # merges between two reports
GAP, GONE = -1, -2  # what stands between words, and where a symbol has become part of the one before it

Pair = tuple[int, int]
Places = Int[np.ndarray, "_"] | list[int] | int  # of the left symbols of a pair, in order; a single one stands bare
Made = list[tuple[int, int, Places]]  # new pairs: key, count, places


@dataclass(frozen=True)
class Trained:
    """A vocabulary from training."""

    names: list[str]
    """Spelling of each id: special tokens, then the alphabet, then results."""
    merges: list[Pair]
    """The merges as pairs of ids, in order."""
    results: list[int]
    """The id that each merge makes."""
    counts: list[int]
    """How often each pair stood in the corpus when it was chosen; these numbers never rise (`tokenize.born-once`)."""

    @property
    def vocabulary(self) -> dict[str, int]:
        """Ids by name."""
        return {name: token_id for token_id, name in enumerate(self.names)}

    @property
    def named_merges(self) -> list[tuple[str, str]]:
        """The merges as pairs of names, as vocabulary files write them."""
        return [(self.names[a], self.names[b]) for a, b in self.merges]


def count_pairs(words: Iterable[Sequence[int]], counts: Iterable[int]) -> Counter[Pair]:
    """
    Counts of the pairs of neighbours (E1).

    Parameters
    ----------
    words
        Each different word as a sequence of symbols.
    counts
        How often each occurs.

    Examples
    --------
    >>> count_pairs([[0, 0, 0], [0, 1]], [10, 1])
    Counter({(0, 0): 20, (0, 1): 1})
    """
    pairs: Counter[Pair] = Counter()
    for word, count in zip(words, counts, strict=True):
        for pair in pairwise(word):
            pairs[pair] += count
    return pairs


def train_reference(
    counts: Mapping[str, int],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    *,
    alphabet: str = "bytes",
    min_count: int = 1,
) -> Trained:
    """
    What `train_merges` computes, step by step as in the definition, with a recount for each step.

    Parameters
    ----------
    counts, vocab_size, special_tokens, alphabet, min_count
        As for `train_merges`.
    """
    start = _start(counts, vocab_size, special_tokens, alphabet, min_count)
    names = start.names
    words = [word.tolist() for word in np.split(start.symbols, np.cumsum(start.lengths)[:-1])]
    merges, results, chosen = [], [], []
    while len(names) < vocab_size:
        pairs = count_pairs(words, counts.values())
        pair = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if pair is None or pairs[pair] < min_count:
            break
        name = names[pair[0]] + names[pair[1]]
        if name not in names:
            names.append(name)
        result = names.index(name)
        words = [replay(word, Merges([pair], [result])) for word in words]
        merges.append(pair)
        results.append(result)
        chosen.append(pairs[pair])
    return Trained(names, merges, results, chosen)


def train_merges(
    counts: Mapping[str, int],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    *,
    alphabet: str = "bytes",
    min_count: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """
    Train BPE on counted words.

    Parameters
    ----------
    counts
        How often each word occurs, 1 or more: what `fp_tokenize.words.count_words` returns.
    vocab_size
        How many tokens are wanted. The vocabulary stays smaller if no pair is left to merge.
    special_tokens
        Names that get the first ids.
    alphabet
        `"bytes"`: words start as the bytes of their UTF-8, all 256 are tokens, and names are spelled with
        `fp_tokenize.characters.byte_alphabet`. `"characters"`: words start as their characters, and those that occur
        are tokens.
    min_count
        The least count (E1) of a pair that is merged.
    progress
        Called now and then with the number of tokens so far and the number wanted.

    Returns
    -------
    Trained
        The vocabulary and its merges, the same in any order of `counts` (`tokenize.training-deterministic`).

    Raises
    ------
    ValueError
        If there is no word, a count is below 1, `vocab_size` is less than the special tokens and the alphabet need, a
        special token is blank or occurs twice, `min_count` is below 1, `alphabet` is neither of the two, or a word has
        a lone surrogate.
    TypeError
        If counts are no integers, or `special_tokens` is one string.

    Examples
    --------
    >>> trained = train_merges({"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}, 10, alphabet="characters")
    >>> trained.names[7:], trained.merges, trained.counts
    (['ug', 'un', 'hug'], [(6, 1), (6, 3), (2, 7)], [20, 16, 15])
    """
    start = _start(counts, vocab_size, special_tokens, alphabet, min_count)
    names, known = start.names, set(start.names)
    bits = vocab_size.bit_length()  # of an id; a pair is one integer, its key: a << bits | b
    low, pair_of_entry = (1 << bits) - 1, (1 << 2 * bits) - 1
    words = _Words(start, bits)
    del start  # as large as the words themselves
    table, places = words.table, words.places
    # an entry: the largest count first, then the smallest key
    heap = [(-count << 2 * bits) + key for key, count in table.items()]
    heapify(heap)
    merges, results, chosen = [], [], []
    while len(names) < vocab_size and heap:
        entry = heap[0]
        key = entry & pair_of_entry
        count = table[key]
        if count != -(entry >> 2 * bits):  # it has fallen since (`tokenize.lazy-heap`)
            if count:
                heapreplace(heap, (-count << 2 * bits) + key)
            else:
                heappop(heap)
                del table[key], places[key]
            continue
        if count < min_count:
            break
        heappop(heap)
        a, b = key >> bits, key & low
        name = names[a] + names[b]
        result = len(names) if name not in known else names.index(name)  # known is only a special token
        if result == len(names):
            names.append(name)
        merges.append((a, b))
        results.append(result)
        chosen.append(count)
        for new, new_count, new_places in words.merge(a, b, result, places.pop(key)):
            table[new] = new_count
            places[new] = new_places
            heappush(heap, (-new_count << 2 * bits) + new)
        del table[key]
        if progress is not None and len(merges) % PROGRESS == 0:
            progress(len(names), vocab_size)
    if progress is not None:
        progress(len(names), vocab_size)
    return Trained(names, merges, results, chosen)


@dataclass
class _Start:
    """What training begins with: names by id, the symbols of all words in one row, and each word's length and count."""

    names: list[str]
    symbols: Integer[np.ndarray, " N"]
    lengths: Integer[np.ndarray, " D"]
    counts: Integer[np.ndarray, " D"]


def _start(
    counts: Mapping[str, int], vocab_size: int, special_tokens: Sequence[str], alphabet: str, min_count: int
) -> _Start:
    if alphabet not in ("bytes", "characters"):
        raise ValueError(f"alphabet must be 'bytes' or 'characters', got {alphabet!r}")
    if isinstance(vocab_size, bool) or not isinstance(vocab_size, int):
        raise TypeError(f"vocab_size must be an integer, got {vocab_size!r}")
    if min_count < 1:
        raise ValueError(f"min_count must be at least 1, got {min_count}: pairs that do not occur cannot be merged")
    if isinstance(special_tokens, str):
        raise TypeError(f"special_tokens must be a list of names, got the string {special_tokens!r}")
    names = [AddedToken(token).content for token in special_tokens]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"each special token is given once, {twice!r} occurs twice")
    joined = "".join(counts)
    data = check_text(joined)
    if not joined:
        raise ValueError("training needs at least one word, got none. Is the corpus empty?")
    weights = np.array(list(counts.values()))
    if weights.dtype.kind not in "iu":
        raise TypeError(f"counts of words must be integers that fit 64 bits, got {weights.dtype}")
    if weights.min() < 1:
        word = next(word for word, count in counts.items() if count < 1)
        raise ValueError(f"counts of words must be at least 1, got {counts[word]} for {word!r}. Leave such words out.")
    if alphabet == "bytes":
        first = sorted(byte_alphabet())
        lengths = np.array([len(word.encode()) for word in counts])
    else:
        first = sorted(set(joined))
        lengths = np.array([len(word) for word in counts])
    if float(weights.astype(np.float64) @ lengths) >= 2**62:
        raise ValueError("a corpus must have fewer than 2**62 letters, for sums in 64 bits. Divide the counts.")
    names += [name for name in first if name not in names]
    if vocab_size < len(names):
        raise ValueError(
            f"vocab_size must be at least {len(names)}, for {len(special_tokens)} special tokens and an alphabet of "
            f"{len(first)} {alphabet}, got {vocab_size}. Ask for more tokens"
            + ("." if alphabet == "bytes" else ", or start from bytes, which are 256.")
        )
    position = {name: i for i, name in enumerate(names)}
    if alphabet == "bytes":
        ids = np.array([position[name] for name in byte_alphabet()], np.int32)
        symbols = ids[np.frombuffer(data, np.uint8)]
    else:
        ids = np.array([position[name] for name in first], np.int32)
        points = np.array([ord(name) for name in first], np.uint32)
        symbols = ids[np.searchsorted(points, np.frombuffer(joined.encode("utf-32-le"), "<u4"))]
    return _Start(names, symbols, lengths, weights)


class _Words:
    """
    The different words in one row, with gaps between them, and where each pair stands.

    A symbol is kept at the place of its first letter; `after` and `before` lead to its neighbours.
    """

    def __init__(self, start: _Start, bits: int) -> None:
        n = len(start.symbols) + len(start.lengths) + 1
        filled = np.ones(n, np.bool_)
        filled[np.cumsum([0, *(start.lengths + 1)])] = False
        self.symbol = np.full(n, GAP, np.int32)
        self.symbol[filled] = start.symbols
        self.weight = np.zeros(n, _narrow(int(start.counts.max())))  # c(w) of the word to which a place belongs
        self.weight[filled] = np.repeat(start.counts.astype(self.weight.dtype), start.lengths)
        self.bits = bits
        self.table: dict[int, int] = {}  # T: count of each pair, by key
        self.places: dict[int, Places] = {}
        place = _narrow(n)
        left = np.flatnonzero(filled[:-1] & filled[1:]).astype(place)
        keys = self.symbol[left].astype(_narrow(1 << 2 * bits)) << bits | self.symbol[left + 1]
        for key, count, places in self._grouped(keys, left):
            self.table[key] = count
            self.places[key] = places
        self.after = np.arange(1, n + 1, dtype=place)
        self.before = np.arange(-1, n - 1, dtype=place)
        # the same memory, read and written one element at a time faster than through NumPy
        self.views = self.symbol.data, self.before.data, self.after.data, self.weight.data

    def merge(self, a: int, b: int, result: int, places: Places) -> Made:
        """Make the events (E3) of a step, take away what is gone from the table, and return what is new."""
        if isinstance(places, int):
            return self._merge_one(a, b, result, places)
        if a != b and len(places) >= MANY:
            return self._merge_many(a, b, result, np.asarray(places, self.after.dtype))
        return self._merge_few(a, b, result, places if isinstance(places, list) else places.tolist())

    def _merge_one(self, a: int, b: int, result: int, at: int) -> Made:
        """The only place of a pair with a positive count is still an occurrence."""
        symbol, before, after, weight = self.views
        gone = after[at]
        left, right = before[at], after[gone]
        symbol[at], symbol[gone], after[at], before[right] = result, GONE, right, at
        count, l, r = weight[at], symbol[left], symbol[right]
        made: Made = []
        if l >= 0:
            self.table[l << self.bits | a] -= count
            made.append((l << self.bits | result, count, left))
        if r >= 0:
            self.table[b << self.bits | r] -= count
            made.append((result << self.bits | r, count, at))
        return made

    def _merge_few(self, a: int, b: int, result: int, places: list[int]) -> Made:
        symbol, before, after, weight = self.views
        bits, table = self.bits, self.table
        lefts: dict[int, list[int]] = {}  # l -> places of (l, x)
        rights: dict[int, list[int]] = {}  # r -> places of (x, r)
        for at in places:
            gone = after[at]
            if symbol[at] != a or symbol[gone] != b:
                continue
            left, right = before[at], after[gone]
            symbol[at], symbol[gone], after[at], before[right] = result, GONE, right, at
            l, r = symbol[left], symbol[right]
            if l >= 0:
                if l == result:  # the event before has written down (x, a) here
                    rights[a].pop()
                else:
                    table[l << bits | a] -= weight[at]
                if l in lefts:
                    lefts[l].append(left)
                else:
                    lefts[l] = [left]
            if r >= 0:
                table[b << bits | r] -= weight[at]
                if r in rights:
                    rights[r].append(at)
                else:
                    rights[r] = [at]
        found = [(l << bits | result, at) for l, at in lefts.items()]
        found += [(result << bits | r, at) for r, at in rights.items() if at]
        return [
            (key, sum([weight[i] for i in at]), at) if len(at) > 1 else (key, weight[at[0]], at[0]) for key, at in found
        ]

    def _merge_many(self, a: int, b: int, result: int, at: Int[np.ndarray, " O"]) -> Made:
        bits, table, symbol = self.bits, self.table, self.symbol
        gone = self.after[at]
        there = (symbol[at] == a) & (symbol[gone] == b)
        at, gone = at[there], gone[there]
        right = self.after[gone]
        symbol[at], symbol[gone], self.after[at], self.before[right] = result, GONE, right, at
        left = self.before[at]  # read after all events: where one follows another, its left neighbour is x
        made: Made = []
        for l, count, places in self._grouped(symbol[left], left, at):
            if l >= 0:
                table[b << bits | a if l == result else l << bits | a] -= count
                made.append((l << bits | result, count, places))
        for r, count, places in self._grouped(symbol[right], at):
            if r >= 0 and r != result:  # (x, x) is among the left ones
                table[b << bits | r] -= count
                made.append((result << bits | r, count, places))
        return made

    def _grouped(
        self, keys: Int[np.ndarray, " O"], places: Int[np.ndarray, " O"], words: Int[np.ndarray, " O"] | None = None
    ) -> Made:
        """Each different key with the sum of the counts of its words, and its places in order."""
        if not len(keys):
            return []
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        weights = self.weight[places if words is None else words[order]]
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        parts = [places[i:j] if j > i + 1 else int(places[i]) for i, j in pairwise([*starts.tolist(), len(places)])]
        sums = np.add.reduceat(weights, starts, dtype=np.int64)
        return list(zip(keys[starts].tolist(), sums.tolist(), parts, strict=True))


def _narrow(largest: int) -> type[np.signedinteger]:
    """The type for integers up to `largest`."""
    return np.int32 if largest < 1 << 31 else np.int64
