r"""
Merges: what a list of merges does to a word.

A byte-pair vocabulary is a list of merges in the order in which training found them. To encode a word one can do to it
what training did, merge after merge down the list. Or one can look only at the word, and at each step do the best
merge that it offers. The first takes as long as the list, the second as long as the word, and a third way, that of
tiktoken, forgets the merges and keeps only strings with ranks. Are they the same function? Not always. This section
says when, and what else can be relied on.

You need: `fp_tokenize.characters`; induction.

## Two readings of a list

A **word** is a sequence of symbols: bytes, characters, or what was made of them. A **merge** $ab \to c$ puts one
symbol $c$ in the place of two neighbours $a$, $b$, its **operands**. Let $m_1, \dots, m_R$ be a list of merges
$m_k: a_k b_k \to c_k$, no pair in it twice; $k$ is the **rank** of $m_k$ and of its pair.

- **Replay** (E1). For $k = 1, \dots, R$ make **pass** $k$: read the word from left to right, and wherever the next two
  symbols are $a_k b_k$, replace them and read on behind them.
- **Rank order** (E2). As long as neighbours in the word form a pair of the list, take the pair of lowest rank, of
  several places the leftmost, and replace it there.

Both take care of pairs that overlap. With $m_1: aa \to A$ the pair stands in "aaa" twice, but only one of the two can
be replaced. Both readings take the left one, so a run of $n$ letters becomes $\lfloor n/2 \rfloor$ symbols $A$, and
one $a$ behind them if $n$ is odd:

>>> double = joined([("a", "a")])
>>> replay("aaaaa", double), by_rank("aaaaa", double)
(['aa', 'aa', 'a'], ['aa', 'aa', 'a'])

Call the list **ordered** if no result is an operand of its own or of an earlier merge:

$$c_k \in \{a_j, b_j\} \implies k < j. \tag{E3}$$

**Claim** `tokenize.merge-order`. Suppose that (i) every operand is a base symbol or the result of an earlier merge,
and (ii) every result belongs to one merge and is no base symbol. Then the list is ordered. And for every ordered list,
replay and rank order make the same of every word.

**Proof.** Let (i) and (ii) hold, and let $c_k$ be an operand of $m_j$. By (ii) it is no base symbol, so by (i) it is
the result of some $m_i$ with $i < j$, and by (ii) $i = k$. So $k < j$, which is (E3).

Now let the list be ordered. Suppose that no pair of rank below $k$ stands in the word; for $k = 1$ this is true of
every word. We show that from here rank order does exactly pass $k$, and that then no pair of rank below $k + 1$ stands
in the word. Each replacement by $m_k$ creates one symbol $c_k$, and every new pair of neighbours contains it. By (E3)
$c_k$ is an operand only of merges of rank above $k$. So no pair of rank $k$ or below appears, and rank order goes on
with $m_k$, always at the leftmost place, until no pair of rank $k$ is left. Say the leftmost place is at positions $i$
and $i + 1$. After the replacement $c_k$ is at position $i$ and is no operand of $m_k$, and nothing to the left of it
has changed. So the next leftmost place is the first one behind the replaced pair, which is where pass $k$ finds its
next replacement. Hence the two replace the same places, and at the end of both no pair of rank $k$ is left.

By induction on $k$, after $R$ passes replay has made what rank order has made, and no pair of the list stands in the
word, so rank order stops. $\blacksquare$

Neither hypothesis can be left out. Without (i): $ab \to c$ comes after the merge that needs its result.

>>> late = joined([("ab", "c"), ("a", "b")])
>>> replay("abc", late), by_rank("abc", late), late.ordered
(['ab', 'c'], ['abc'], False)

Without (ii): "abc" is made in two ways, and a merge that uses it stands between them.

>>> twice = joined([("b", "c"), ("a", "b"), ("ab", "c"), ("abc", "d"), ("a", "bc")])
>>> replay("abcd", twice), by_rank("abcd", twice), twice.ordered
(['abc', 'd'], ['abcd'], False)

Training never makes such a list: a pair that it counts is made of symbols that exist, and its result is new. But files
are also written by other programs, and every library reads a list by (E2). So does this course: (E2) is what
`BPETokenizer` computes, whether the list is ordered or not.

## Parts of an encoding

Write $E(w)$ for what rank order makes of $w$ by some list, ordered or not. Each symbol of $E(w)$ **covers** an interval
of $w$, and these intervals follow one another.

**Claim** `tokenize.encoding-parts`. For every list: let $E(w) = t_1 \cdots t_m$, and let $v$ be the part of $w$ that
$t_i \cdots t_j$ cover. Then $E(v) = t_i \cdots t_j$. Moreover, as long as no replacement in $w$ has crossed an end of
some part $v$, what has been done inside $v$ is what rank order does first in $v$ alone.

**Proof.** The second statement first. Let no replacement cross an end of $v$ up to some moment, and look at those
inside $v$ one after another. Suppose that $v$ alone has done the same ones before. The next one inside $v$ was taken
because no pair in the whole word had a lower rank, or the same further left. So no pair inside $v$ had, and $v$ alone
takes it next, too.

For the first statement, symbols only grow, and at the end one begins where $v$ begins and one ends where $v$ ends. So
no replacement ever crossed these ends, and $v$ alone comes to $t_i \cdots t_j$. There is no pair of the list in
$t_1 \cdots t_m$, hence none in that, and $v$ alone stops. $\blacksquare$

**Claim** `tokenize.encoding-seams`. For every list: let $w = v_1 v_2 \cdots v_m$ with $m \ge 2$ and none of the parts
empty, and let $E(v_i v_{i+1}) = t_i t_{i+1}$ for $i = 1, \dots, m - 1$, where $t_i$ covers $v_i$ and $t_{i+1}$ covers
$v_{i+1}$. Then $E(w) = t_1 \cdots t_m$.

**Proof.** Suppose that some replacement in $w$ joins symbols on two sides of a boundary between parts. Take the first
one, say between $v_i$ and $v_{i+1}$. Until then nothing has crossed an end of $v_i v_{i+1}$, so by
`tokenize.encoding-parts` the same was done in $v_i v_{i+1}$ alone; and this replacement, the first choice in the whole
word, is the first choice there, too. Then a symbol of $E(v_i v_{i+1})$ covers symbols of both parts, against the
hypothesis. So nothing is ever joined across a boundary, and every part becomes what it becomes alone, $E(v_i)$. By
`tokenize.encoding-parts`, used on $v_i v_{i+1}$ or on $v_{i-1} v_i$, that is $t_i$. $\blacksquare$

So whether a sequence of symbols is an encoding can be seen from its neighbours alone. Long words can therefore be
encoded in pieces:

**Claim** `tokenize.encoding-glue`. For every list and $w = xyz$: if $E(xy)$ and $E(yz)$ both contain a symbol that
covers the same interval of $y$, it is the same symbol $t$, and $E(w)$ consists of the symbols of $E(xy)$ before $t$,
then $t$, then the symbols of $E(yz)$ behind $t$.

**Proof.** By `tokenize.encoding-parts` both symbols are what $E$ makes of that interval. If the sequence is $t$ alone,
$w$ is what $t$ covers, and so is $xy$. Otherwise each two neighbours in it are neighbours in $E(xy)$ or in $E(yz)$: $t$
and the one before it in $E(xy)$, $t$ and the one behind it in $E(yz)$. By `tokenize.encoding-parts` each two are the
encoding of what they cover, and by `tokenize.encoding-seams` all of them are the encoding of $w$. $\blacksquare$

In the run "aaaa" the pieces "aaa" from the first letter and "aaa" from the second share no symbol: $A$ covers letters
1 and 2 in one, 2 and 3 in the other. Then there is nothing to glue, and the word has to be encoded whole.

## Ranks by string

tiktoken's files have no merges. They list strings, each with a rank, and a word is cut like this (E4): as long as two
neighbours, written together, are a string of the list, take the string of lowest rank, of several places the leftmost,
and join them there. Which two pieces make the string does not matter. In the language of (E2), *every* cut of a string
into two others is a pair, and all cuts of one string share its rank (`splits`).

From here on a result stands for a string of base symbols, those of its operands written together, and a base symbol for
itself. A result is **reachable** if its own string is encoded as this one symbol.

**Claim** `tokenize.string-ranks`. Let a list satisfy (ii) and all its results be reachable. With the rank of each
merge given to its result's string, (E4) makes of every word of base symbols what the list makes of it.

**Proof.** Different symbols stand for different strings: a result's has at least two base symbols, and what one string
is encoded as cannot be two results. We show that (E2) and (E4) do the same replacements in the same order. Suppose that
they have so far, and look at the word now. A pair of the list that stands in it is a candidate of (E4) with the same
rank. Conversely, let $l\,r$ be neighbours with the string of $c_k$, and $v$ the part of the word that they cover. No
replacement has crossed an end of $v$, so by `tokenize.encoding-parts` rank order in $v$ alone comes to $l\,r$. It ends
at $E(v) = c_k$, since $c_k$ is reachable, and one replacement makes one symbol of two: so the next one makes $c_k$ of
$l\,r$. By (ii) that is $m_k$, and $l\,r = a_k b_k$. So (E2) and (E4) see the same candidates with the same ranks, at
every step, and take the same one. $\blacksquare$

So equality is a property of the vocabulary that can be *checked*, once for all words: encode every token's string. A
list that fails:

>>> hidden = joined([("a", "b"), ("b", "c"), ("a", "bc")])
>>> unreachable(hidden), by_rank("abc", hidden), by_string_rank("abc", {"ab": 0, "bc": 1, "abc": 2})
(['abc'], ['ab', 'c'], ['abc'])

Lists that come from training need no check:

**Claim** `tokenize.trained-merges`. Let a list satisfy (i) and (ii), and for every $k$ let $a_k b_k$ stand in what the
first $k - 1$ passes make of some word of base symbols. Then all results are reachable, and their strings are different.

**Proof.** By `tokenize.merge-order` passes are rank order, for every beginning of the list. Let $v$ be what $a_k b_k$
cover in that word. By `tokenize.encoding-parts` the first $k - 1$ merges make $a_k b_k$ of $v$ alone. Pass $k$ then
makes $c_k$ of it, a single symbol, at which later passes change nothing: $c_k$ is reachable. If some $c_j$ with
$j < k$ had the same string $v$, then by the same argument the first $j$ merges, and with them the first $k - 1$, would
make $c_j$ of $v$, and not $a_k b_k$. $\blacksquare$

Another reading of this serves for tiktoken's files. Cut each string with the strings of lower rank:

**Claim** `tokenize.recovered-merges`. Let strings of at least two base symbols have different ranks. For the string
$s_k$ of rank $k$ let (E4), with the strings of rank below $k$ alone, leave exactly two pieces $l_k$ and $r_k$, for
every $k$. Then the merges $l_k r_k \to s_k$, in the order of $k$, satisfy (i) and (ii), all results are reachable, and
the list makes of every word what (E4) makes of it with all strings.

**Proof.** The pieces are base symbols or strings of lower rank, which is (i). The strings are different and are longer
than base symbols, which is (ii). Now induction on the length of the list: suppose that the results of the first
$k - 1$ merges are reachable with these merges. By `tokenize.string-ranks` those merges make of $s_k$ what (E4) makes of
it with the strings of rank below $k$, that is $l_k r_k$. Pass $k$ makes $s_k$ of it, so $s_k$ is reachable. The earlier
results remain so: each is a single symbol before pass $k$. So with all merges all results are reachable, and the claim
follows from `tokenize.string-ranks`. $\blacksquare$

Where a string is left in more than two pieces, a longer list remains, that of all cuts. Their ranks need not be shared:

**Claim** `tokenize.string-splits`. The list of all cuts of all strings, in the order of the strings' ranks, with the
cuts of one string in any order, makes of every word what (E4) makes of it.

**Proof.** (E4) is rank order with ranks that several pairs share, and what the proof of `tokenize.encoding-parts` says
holds for it, too. Cut a string $s$ by (E4). Every replacement takes one symbol away, so at most once two are left: call
them $l_s\, r_s$. Now let (E4) come in some word to neighbours $l\,r$ with the string $s$. Nothing has crossed the ends
of what they cover, so $s$ alone comes to $l\,r$ as well: $l\,r = l_s\, r_s$. So wherever $s$ is seen, in all words,
it is the same pair. Suppose that (E4) and the list have done the same so far, and let $s$ be the string of lowest rank
that (E4) sees. Of the cuts of $s$ only $l_s\, r_s$ stands in the word; all other pairs of the list that stand in it are
cuts of strings of higher rank, and come later in the list. So the list takes $l_s\, r_s$, as (E4) does, and both take
the leftmost place. If (E4) sees no string, no pair of the list stands in the word, and both stop. $\blacksquare$

## Not the shortest

Rank order makes few symbols, not the fewest. The list was chosen to shorten the training text one merge at a time, and
a pair that is merged early, across what would have been a boundary, is never taken apart.

**Claim** `tokenize.bpe-not-shortest`. For every $T \ge 3$ there is a list of $T$ merges with (i) and (ii) whose
results are reachable and have at most $T$ base symbols, and for every $m \ge 2$ a word that $m$ of its symbols spell
but that is encoded as $(m - 1)(T - 1) + 2$ symbols. Conversely, if (i) and (ii) hold and the longest results have $T$
base symbols, every word (of at least one) is encoded as less than $T$ times the fewest symbols that spell it.

**Proof.** Let $x_1, \dots, x_T$ be different base symbols. First merge $x_T x_1 \to y$; then, with $p_1 = x_1$, the
merges $p_{j} x_{j+1} \to p_{j+1}$ for $j = 1, \dots, T - 1$. The operands are base symbols or results of the merge
before, and the results are different. The string of $p_j$, $x_1 \cdots x_j$, does not contain $x_T x_1$ and is merged
from the left into $p_j$; that of $y$ into $y$. The word $(x_1 \cdots x_T)^m$ is spelled by $m$ symbols $p_T$. Pass 1
makes it $x_1 \cdots x_{T-1}\, y\, x_2 \cdots x_{T-1}\, y \cdots y\, x_2 \cdots x_T$ with $m - 1$ symbols $y$. Only the
first block begins with $x_1$, and becomes $p_{T-1}$. Nothing else changes. That leaves $1$ symbol, the $m - 1$ symbols
$y$, $m - 2$ blocks of $T - 2$ symbols between them, and $T - 1$ at the end: $1 + (m - 1) + (m - 2)(T - 2) + (T - 1) =
(m - 1)(T - 1) + 2$.

For the converse let a word of $n \ge 1$ base symbols be encoded as $g$ symbols, and let $o$ be the fewest that spell
it. Then $g \le n \le T o$. Suppose $g = T o$: then both are equalities, the encoding consists of base symbols only, and
a shortest spelling only of results with $T$ of them. Follow one of these results back, to a merge that makes it, from
there to an operand that is a result, and so on; by (i) the merges come earlier and earlier, so this ends, at a merge
whose operands are both base symbols. They are neighbours in the word, hence in its encoding, where by (E2) no pair of
the list stands: a contradiction. $\blacksquare$

>>> greedy = joined([("c", "a"), ("a", "b"), ("ab", "c")])
>>> by_rank("abcabcabc", greedy)
['ab', 'ca', 'b', 'ca', 'b', 'c']
>>> shortest("abcabcabc", ["a", "b", "c", *greedy.results])
['abc', 'abc', 'abc']

So the ratio can come as near to $T - 1$ as one likes, and never reaches $T$. In natural text the loss is small, and
fewer tokens are not what a model needs in the first place.

## What it costs

**Claim** `tokenize.by-rank-cost`. On a word of $n$ symbols `by_rank` looks up at most $n(n - 1)/2$ pairs. A word that
becomes one symbol needs exactly that many.

**Proof.** Every round looks up all pairs of neighbours, one less than there are symbols, and all rounds but the last
remove one symbol. So the rounds look up $n - 1$, $n - 2$, … pairs, at most down to a last round with none:
$(n - 1) + (n - 2) + \dots + 0 = n(n - 1)/2$, and if the word becomes one symbol there are all of these rounds.
$\blacksquare$

That is quick for words of natural text and hopeless for a megabyte without a space; `fp_tokenize.bpe_encoding` does
better. Replay makes $R$ passes over up to $n$ symbols, for any word.

## In practice

Hugging Face's libraries and llama.cpp use rank order, tiktoken ranks by string, subword-nmt rank order with strings for
symbols. Where files are converted from one to another, `tokenize.string-ranks` is what is silently assumed.

References: R. Sennrich, B. Haddow and A. Birch, "Neural machine translation of rare words with subword units", 2016,
for BPE; M. Berglund and B. van der Merwe, "Formalizing BPE tokenization", 2023, for the two readings; GitHub's `bpe`
crate, for encodings seen from their neighbours; V. Zouhar and others, "A formal perspective on byte-pair encoding",
2023, for the distance of training from the optimum.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Generic, TypeVar

__all__ = [  # the order of the page
    "Merges",
    "joined",
    "replay",
    "by_rank",
    "unreachable",
    "by_string_rank",
    "splits",
    "recover",
    "shortest",
]

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Merges(Generic[S]):
    """
    A list of merges.

    Symbols are ids in tokenizers and strings in this section's examples; anything that can be a dictionary's key does.

    Parameters
    ----------
    pairs
        The operands of each merge, no pair twice.
    results
        What each makes of them.
    ranks
        The rank of each, at least 0 and never falling along the list; their positions, unless some share one. Merges
        that share a rank have the same result.

    Raises
    ------
    ValueError
        If the lengths differ, a pair occurs twice, ranks fall, or merges of one rank have different results.

    Examples
    --------
    >>> merges = Merges([(97, 98), (256, 99)], [256, 257])
    >>> merges.rank[256, 99], merges.result[1], merges.ordered
    (1, 257, True)
    """

    pairs: Sequence[tuple[S, S]]
    results: Sequence[S]
    ranks: Sequence[int] | None = None
    rank: dict[tuple[S, S], int] = field(init=False, repr=False, compare=False)
    """Rank of each pair."""
    result: dict[int, S] = field(init=False, repr=False, compare=False)
    """What the merges of a rank make."""

    def __post_init__(self) -> None:
        ranks = range(len(self.pairs)) if self.ranks is None else self.ranks
        if not len(self.pairs) == len(self.results) == len(ranks):
            raise ValueError(
                "a list of merges needs one result and one rank for each pair, got "
                f"{len(self.pairs)} pairs, {len(self.results)} results and {len(ranks)} ranks"
            )
        if any(j < i for i, j in pairwise(ranks)) or any(k < 0 for k in ranks[:1]):
            raise ValueError("ranks must be at least 0 and never fall along the list; sort the merges by rank")
        rank = dict(zip(self.pairs, ranks, strict=True))
        if len(rank) != len(self.pairs):
            seen: set[tuple[S, S]] = set()
            twice = next(pair for pair in self.pairs if pair in seen or seen.add(pair))  # type: ignore[func-returns-value]
            raise ValueError(f"a pair has one rank, {twice!r} occurs twice; leave one of them out")
        result = dict(zip(ranks, self.results, strict=True))
        if self.ranks is not None:
            for k, made in zip(ranks, self.results, strict=True):
                if result[k] != made:
                    raise ValueError(f"merges of one rank have one result, rank {k} has {made!r} and {result[k]!r}")
        object.__setattr__(self, "rank", rank)
        object.__setattr__(self, "result", result)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def ordered(self) -> bool:
        """Whether no result is an operand of a merge of its own or a lower rank (E3), and no two share a rank."""
        made = {result: k for k, result in self.result.items()}  # the last rank that makes it
        return len(self.result) == len(self.pairs) and all(
            made.get(operand, -1) < k for pair, k in self.rank.items() for operand in pair
        )


def joined(pairs: Iterable[tuple[str, str]]) -> Merges[str]:
    """
    A list of merges whose symbols are strings, each result its operands written together.

    Examples
    --------
    >>> joined([("l", "o"), ("lo", "w")]).results
    ['lo', 'low']
    """
    pairs = list(pairs)
    return Merges(pairs, [left + right for left, right in pairs])


def replay(symbols: Iterable[S], merges: Merges[S]) -> list[S]:
    """
    What the list makes of a word, merge after merge (E1).

    Parameters
    ----------
    symbols
        The word.
    merges
        The list.

    Examples
    --------
    >>> replay("lower", joined([("e", "r"), ("l", "o"), ("lo", "w")]))
    ['low', 'er']
    """
    word = list(symbols)
    for pair, result in zip(merges.pairs, merges.results, strict=True):
        i = 0
        while i + 1 < len(word):
            if (word[i], word[i + 1]) == pair:
                word[i : i + 2] = [result]
            i += 1
    return word


def by_rank(symbols: Iterable[S], merges: Merges[S]) -> list[S]:
    """
    What the list makes of a word, the lowest rank first and the leftmost of several places (E2).

    Parameters
    ----------
    symbols
        The word.
    merges
        The list.

    Examples
    --------
    >>> by_rank("lower", joined([("e", "r"), ("l", "o"), ("lo", "w")]))
    ['low', 'er']
    """
    word = list(symbols)
    while True:
        offers = [(merges.rank.get(pair), i) for i, pair in enumerate(pairwise(word))]
        best = min(((k, i) for k, i in offers if k is not None), default=None)
        if best is None:
            return word
        k, i = best
        word[i : i + 2] = [merges.result[k]]


def unreachable(merges: Merges[Any], encode: Any = by_rank) -> list[Any]:
    """
    The results whose own string is not encoded as that one symbol: none, if `tokenize.string-ranks` is to hold.

    Parameters
    ----------
    merges
        A list whose symbols are strings.
    encode
        A faster function that does what `by_rank` does.

    Examples
    --------
    >>> unreachable(joined([("a", "b"), ("b", "c"), ("a", "bc")]))
    ['abc']
    """
    return [result for result in dict.fromkeys(merges.results) if encode(list(result), merges) != [result]]


Text = TypeVar("Text", str, bytes)


def by_string_rank(word: Text, ranks: Mapping[Text, int], below: int | float = float("inf")) -> list[Text]:
    """
    A word cut by ranks of strings (E4), as tiktoken does it.

    Parameters
    ----------
    word
        A string or bytes; its base symbols are its characters or single bytes.
    ranks
        Rank of each string of two or more of them. Those of single ones have no effect.
    below
        Use only strings of rank less than this.

    Examples
    --------
    >>> by_string_rank(b"lower", {b"er": 0, b"lo": 1, b"low": 2})
    [b'low', b'er']
    """
    pieces = [word[i : i + 1] for i in range(len(word))]
    while True:
        offers = [(ranks.get(left + right, below), i) for i, (left, right) in enumerate(pairwise(pieces))]
        k, i = min(offers, default=(below, 0))
        if k >= below:
            return pieces
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def splits(ranks: Mapping[Text, int]) -> Merges[Text]:
    """
    The list that does by (E2) what the ranks of strings do by (E4): all cuts of a string, with one rank.

    Parameters
    ----------
    ranks
        Ranks of strings, those of one base symbol included.

    Examples
    --------
    >>> merges = splits({"a": 0, "b": 1, "ab": 2, "ba": 3, "aba": 4})
    >>> merges.pairs, merges.ranks
    ([('a', 'b'), ('b', 'a'), ('a', 'ba'), ('ab', 'a')], [2, 3, 4, 4])
    """
    pairs, shared = [], []
    for whole in sorted(ranks, key=ranks.__getitem__):
        for i in range(1, len(whole)):
            if whole[:i] in ranks and whole[i:] in ranks:
                pairs.append((whole[:i], whole[i:]))
                shared.append(ranks[whole])
    return Merges(pairs, [left + right for left, right in pairs], shared)


def recover(ranks: Mapping[Text, int]) -> list[tuple[Text, Text]] | None:
    """
    The merges behind ranks of strings (`tokenize.recovered-merges`).

    Parameters
    ----------
    ranks
        Ranks of strings.

    Returns
    -------
    list of tuple, or None
        The operands of each string of two or more base symbols, in the order of their ranks; `None` if one of the
        strings is left in more than two pieces, so that no list does the same.

    Examples
    --------
    >>> recover({"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4})
    [('a', 'b'), ('ab', 'c')]
    >>> recover({"a": 0, "b": 1, "c": 2, "abc": 3}) is None
    True
    """
    merges = []
    for whole in sorted((string for string in ranks if len(string) > 1), key=ranks.__getitem__):
        pieces = by_string_rank(whole, ranks, below=ranks[whole])
        if len(pieces) != 2:
            return None
        merges.append((pieces[0], pieces[1]))
    return merges


def shortest(word: Text, tokens: Collection[Text]) -> list[Text] | None:
    """
    A cut of a word into the fewest tokens, by trying the last token of every beginning of the word.

    Parameters
    ----------
    word
        A string or bytes.
    tokens
        What it may be cut into.

    Returns
    -------
    list, or None
        One of the shortest cuts; `None` if there is none.

    Examples
    --------
    >>> shortest("abcab", ["a", "b", "c", "ab", "abc", "ca"])
    ['abc', 'ab']
    """
    longest = max(map(len, tokens), default=0)
    fewest = [(0, 0)]  # of each beginning: the number of tokens, and where the last one starts
    for end in range(1, len(word) + 1):
        starts = range(max(0, end - longest), end)
        cuts = [(fewest[start][0] + 1, start) for start in starts if word[start:end] in tokens]
        fewest.append(min(cuts, default=(len(word) + 1, 0)))
    if fewest[-1][0] > len(word):
        return None
    pieces: list[Text] = []
    end = len(word)
    while end:
        pieces.append(word[fewest[end][1] : end])
        end = fewest[end][1]
    return pieces[::-1]
