r"""
Lookup: finding an n-gram among millions.

To score a text, every one of its n-grams is looked up, at every order. Binary search takes about twenty steps among a
million n-grams, each of them to another corner of memory. Who looks up a word in a dictionary does better: words that
begin with *w* are near the end, so that is where the book is opened. This section opens the book at the right page.

You need: `fp_markov.counting`.

## Spread out the keys

The guess works if the words are spread evenly over the pages. Keys (E4) of `fp_markov.counting` are not: they crowd
where a context has many followers. So scramble them first, such that no two become equal. Let all keys be below $2^B$
with $B < 64$, let $s = 64 - B$, and let $m$ be an odd number. The **scrambled key** is what a processor gets when it
multiplies 64-bit numbers and drops the carry,

$$h(k) = k \cdot m \cdot 2^s \bmod 2^{64}. \qquad \text{(E1)}$$

**Claim** `markov.scrambled-keys`. For $0 \le k < 2^B$ all $h(k)$ are different multiples of $2^s$ in $[0, 2^{64})$. If
$0 \le r < 2^s$, then $h(k') \le h(k) + r < h(k') + 2^s$ holds for $k' = k$ and for no other $k'$ in that range.

**Proof.** $k m 2^s$ and $2^{64} = 2^B 2^s$ are multiples of $2^s$, hence so is the remainder $h(k)$. Suppose
$h(k) = h(k')$ and $k \ne k'$. Then $2^{64}$ divides $(k - k') m 2^s$, so $2^B$ divides $(k - k') m$. Write
$k - k' = 2^j u$ with an odd $u$; then $(k - k') m = 2^j u m$, and $u m$ is odd, as a product of odd numbers. So
$j \ge B$ and $|k - k'| \ge 2^B$, while both lie in $[0, 2^B)$: a contradiction, so $k = k'$. For the second part:
$h(k') \le h(k) + r < h(k') + 2^s$ says that the quotient of $h(k) + r$ by $2^s$, rounded down, is $h(k') / 2^s$. That
quotient is $h(k) / 2^s$, because $0 \le r < 2^s$. So it says $h(k') = h(k)$, which holds for $k' = k$ alone.
$\blacksquare$

The low $s$ bits of a scrambled key are free. The $n$-gram's rank goes there: with key and rank in one integer, its
**entry**

$$e = h(k) + r, \qquad 0 \le r < 2^s, \qquad \text{(E2)}$$

one access to memory answers both whether the $n$-gram is there and where. The high bits of $h$ depend on all bits of
the key. How evenly they spread is up to $m$. Near $2^B$ times $(\sqrt 5 - 1) / 2$ it sends the keys of neighbours,
$k, k + 1, k + 2, \dots$, far from each other (Knuth).

## A list with gaps

Lay out a table of slots, twice as many as entries. The **home** of a number $x$ in $[0, 2^{64})$ is the slot that lies
in the table as $x$ lies in its range,

$$\text{home}(x) = \lfloor x \cdot \text{slots} / 2^{64} \rfloor, \qquad \text{(E3)}$$

which never falls as $x$ rises. Sort the entries, $e_0 < e_1 < \dots$, and put each into its home, or, if that slot or
others behind it are taken, into the next one:

$$p_0 = \text{home}(e_0), \qquad p_i = \max\big( \text{home}(e_i),\, p_{i-1} + 1 \big). \qquad \text{(E4)}$$

Fill each gap with the next entry after it, and the end of the table with a number that exceeds all (there is one in 64
bits, as there are fewer than $2^s$ keys). To look up a key,
open the table at $\text{home}(h(k))$ and go right while the slot is less than $h(k)$.

**Claim** `markov.gapped-list`. Let there be fewer than $2^s$ keys. The walk ends at the least entry $e \ge h(k)$, or
past all entries if there is none. The key is in the table if and only if it ends at an entry with $e - h(k) < 2^s$, and
then $e - h(k)$ is its rank.

**Proof.** From left to right the slots never fall, by construction. Let $e_i$ be the least entry that is at least
$h(k)$. Since home never falls, $p_i \ge \text{home}(e_i) \ge \text{home}(h(k))$: the walk begins at slot $p_i$ or left
of it. Slots left of $p_i$ hold $e_i$ itself, in the gap before it, or lesser entries, all of which are less than
$h(k)$. So the first slot on the walk that is not less than $h(k)$ holds $e_i$. If no entry is that large, the walk goes
on to the end of the table. If the key is in the table with rank $r$, then $h(k) + r$ is an entry, so
$h(k) \le e_i \le h(k) + r < h(k) + 2^s$, and by `markov.scrambled-keys` $e_i$ is the entry of no other key:
$e_i - h(k) = r$. Conversely, an $e_i$ in $[h(k), h(k) + 2^s)$ is the entry of a key $k'$ with $h(k') + r$ in that
range, and by the same claim $k' = k$. $\blacksquare$

**Claim** `markov.gapped-layout`. (E4) is $p_i = i + \max_{j \le i} \big( \text{home}(e_j) - j \big)$.

**Proof.** For $i = 0$ both are $\text{home}(e_0)$. If it holds for $i - 1$, then
$p_{i-1} + 1 = i + \max_{j \le i-1} (\text{home}(e_j) - j)$, and $\text{home}(e_i) = i + (\text{home}(e_i) - i)$. The
greater of the two is $i$ plus the greater of the brackets. $\blacksquare$

So a running maximum lays out the table, and no loop is needed. How long are the walks? That depends on how evenly $h$
spreads the keys at hand. Measured on the bigrams of a random text whose frequent tokens are frequent, as in real ones,
as the number of steps that are made by present keys on average, the share that make none, and the longest walk:

>>> from fp_markov.counting import count_ngrams
>>> text = np.random.default_rng(0).zipf(1.2, size=30_000) % 1009
>>> unigrams, bigrams = count_ngrams(text, 2, vocab_size=1009)
>>> table = GappedList(bigrams.keys, len(unigrams.keys), 1009)
>>> walks = table.walks(bigrams.contexts, bigrams.tokens)
>>> round(float(walks.mean()), 1), round(float((walks == 0).mean()), 1), int(walks.max()) < 30
(0.4, 0.7, True)

The answers are exact whatever the spread is: only the time depends on it.

## Whether it pays

Where contexts times tokens are few, a plain table with a cell for each pair needs no search at all (`PairTable`). Where
key and rank don't fit 64 bits together, it is left to binary search. `finder` chooses. Building sorts the entries once,
so it takes some tens of thousands of look-ups to pay; `fp_markov.ngram.NGramModel.log_prob` builds the tables when it
is first given a long text. They are never saved.

## In practice

This is a hash table by another name: scrambling is **hashing**, the walk is **linear probing**, sorted so that a walk
ends where the key would be. KenLM's fast format is linear probing with a 64-bit hash of the whole $n$-gram in place of
an exact key, trusting that no two of them share one. What decides the speed of all of these is how many places in
memory a look-up touches. The caches of prompts in the serving of large models are hash tables over token sequences too.

References: D. Knuth, *The Art of Computer Programming*, volume 3, section 6.4; K. Heafield, "KenLM: faster and smaller
language model queries", 2011.
"""

import numpy as np
from jaxtyping import Int, UInt64

from fp_markov.counting import find, sorting_order

__all__ = ["GappedList", "PairTable", "BinarySearch", "finder"]  # the order of the page

CELLS = 2**20
"""A `PairTable` has at most as many cells, of four bytes."""

GOLDEN = 0x9E3779B97F4A7C15
"""Odd, next to 2^64 (sqrt(5) - 1) / 2."""


class GappedList:
    """Entries (E2) in the layout (E4), from the parameters of `finder`."""

    def __init__(self, keys: Int[np.ndarray, " G"], n_contexts: int, vocab_size: int) -> None:
        self.keys, self.vocab_size = keys, vocab_size
        bits = key_bits(n_contexts, vocab_size)
        s = 64 - bits
        self.multiplier = np.uint64((GOLDEN >> s | 1) << s)
        self.n_slots = np.uint64(2 * len(keys))
        entries = np.asarray(keys).view(np.uint64) * self.multiplier  # (E1)
        order = sorting_order((entries >> np.uint64(s)).view(np.int64))
        entries = entries.take(order) + order.view(np.uint64)  # (E2)
        i = np.arange(len(keys))
        places = i + np.maximum.accumulate(self.home(entries) - i)  # (E4)
        n_after = max(2 * len(keys) - int(places[-1]), 1)
        self.slots: UInt64[np.ndarray, " S"] = np.concatenate(
            (np.repeat(entries, np.diff(places, prepend=-1)), np.full(n_after, 2**64 - 1, np.uint64))
        )
        self.nbytes = self.slots.nbytes

    def home(self, x: UInt64[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
        """(E3) of the upper half of the bits, so that the product fits."""
        half = np.uint64(32)
        return (((x >> half) * self.n_slots) >> half).view(np.int64)

    def scrambled(self, contexts: Int[np.ndarray, " T"], tokens: Int[np.ndarray, " T"]) -> UInt64[np.ndarray, " T"]:
        """(E1)"""
        wanted = contexts * self.vocab_size
        wanted += tokens
        return wanted.view(np.uint64) * self.multiplier

    def find(self, contexts: Int[np.ndarray, " T"], tokens: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
        """Ranks of the n-grams made of a context's rank and a token, or -1 for those that the keys lack."""
        h = self.scrambled(contexts, tokens)
        slot = self.home(h)
        entry = self.slots.take(slot)
        walking = np.flatnonzero(entry < h)
        entry -= h
        slot, target = slot.take(walking), h.take(walking)
        while len(walking):
            slot += 1
            at = self.slots.take(slot)
            entry[walking] = at - target
            on = np.flatnonzero(at < target)
            walking, slot, target = walking.take(on), slot.take(on), target.take(on)
        # what ends short of 2^s is a rank, and ranks are below the number of keys
        return np.where(entry < len(self.keys), entry.view(np.int64), -1)

    def walks(self, contexts: Int[np.ndarray, " T"], tokens: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
        """How many steps each look-up takes from its home."""
        h = self.scrambled(contexts, tokens)
        return np.maximum(np.searchsorted(self.slots, h) - self.home(h), 0)


def key_bits(n_contexts: int, vocab_size: int) -> int:
    """B of (E1). Where the context is absent, its rank -1 makes keys that count as the last below 2^B."""
    return ((n_contexts + 1) * vocab_size - 1).bit_length()


class PairTable:
    """A rank for every pair of a context and a token, or -1, from the parameters of `finder`."""

    def __init__(self, keys: Int[np.ndarray, " G"], n_contexts: int, vocab_size: int) -> None:
        self.keys, self.vocab_size = keys, vocab_size
        self.ranks = np.full((n_contexts + 1) * vocab_size, -1, np.int32)  # the last row is that of context -1
        self.ranks[keys] = np.arange(len(keys))
        self.nbytes = self.ranks.nbytes

    def find(self, contexts: Int[np.ndarray, " T"], tokens: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
        """Ranks of the n-grams made of a context's rank and a token, or -1 for those that the keys lack."""
        return self.ranks.take(contexts * self.vocab_size + tokens).astype(np.int64)


class BinarySearch:
    """The reference, step by step from the middle."""

    nbytes = 0

    def __init__(self, keys: Int[np.ndarray, " G"], vocab_size: int) -> None:
        self.keys, self.vocab_size = keys, vocab_size

    def find(self, contexts: Int[np.ndarray, " T"], tokens: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
        """Ranks of the n-grams made of a context's rank and a token, or -1 for those that the keys lack."""
        return find(self.keys, self.vocab_size, contexts, tokens)


Finder = GappedList | PairTable | BinarySearch


def finder(keys: Int[np.ndarray, " G"], n_contexts: int, vocab_size: int) -> Finder:
    """
    The fastest finder that serves.

    Parameters
    ----------
    keys
        The sorted keys of a level, at least one.
    n_contexts
        How many n-grams the level below has, or more.
    vocab_size
        V of the keys.

    Examples
    --------
    >>> keys = np.array([1, 2, 5])
    >>> type(finder(keys, 2, 3)).__name__, type(finder(keys, 2**30, 2**11)).__name__
    ('PairTable', 'GappedList')
    >>> type(finder(keys, 2**30, 2**32)).__name__
    'BinarySearch'
    """
    if (n_contexts + 1) * vocab_size <= CELLS:
        return PairTable(keys, n_contexts, vocab_size)
    if len(keys) < min(2 ** (64 - key_bits(n_contexts, vocab_size)), 2**31):
        return GappedList(keys, n_contexts, vocab_size)
    return BinarySearch(keys, vocab_size)
